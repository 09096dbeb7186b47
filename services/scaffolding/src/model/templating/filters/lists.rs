//! Filters over lists and objects.
//!
//! Owns grouping, sorting and selecting as Nunjucks does them; refuses to change its input.
use std::cmp::Ordering;

use minijinja::value::Value;

use super::{attribute, characters, pair};
use crate::model::templating::engine::Call;
use crate::model::templating::operators::{order, test};
use crate::model::templating::value::{Dict, Fail, View, dict, kind_name, list, number, text, to_number, view};

fn items<'c>(call: &'c Call<'_>) -> Result<&'c [Value], Fail> {
    match view(call.get(0)) {
        View::List(items) => Ok(items),
        View::Null => Ok(&[]),
        _ => Err(Fail::invalid(format!("expected a list, found {}", kind_name(call.get(0))))),
    }
}

/// The first or last element, or character.
pub(super) fn item(value: &Value, choose: for<'a> fn(&'a [Value]) -> Option<&'a Value>) -> Value {
    let none = || Value::from(());
    match view(value) {
        View::List(items) => choose(items).cloned().unwrap_or_else(none),
        View::Text(text) => match view(&characters(text)) {
            View::List(items) => choose(items).cloned().unwrap_or_else(none),
            _ => none(),
        },
        _ => none(),
    }
}

pub(super) fn batch(call: &Call<'_>) -> Result<Value, Fail> {
    let size = to_number(call.get(1));
    if size.is_nan() || size < 1.0 {
        return Err(Fail::invalid("`batch` needs a size of at least 1"));
    }
    let size = size as usize;
    let filler = call.named(2, "fill_with");
    let rows = items(call)?.chunks(size).map(|chunk| {
        let mut row = chunk.to_vec();
        if let Some(filler) = filler {
            call.charge((size - row.len()) as u64 * 32)?;
            row.resize(size, filler.clone());
        }
        Ok(list(row))
    });
    Ok(list(rows.collect::<Result<_, Fail>>()?))
}

pub(super) fn slice(call: &Call<'_>) -> Result<Value, Fail> {
    let all = items(call)?;
    let slices = to_number(call.get(1));
    if slices.is_nan() || slices < 1.0 {
        return Err(Fail::invalid("`slice` needs a count of at least 1"));
    }
    let slices = slices as usize;
    call.charge(slices as u64 * 32)?;
    let (length, extra) = (all.len() / slices, all.len() % slices);
    let mut from = 0;
    let columns = (0..slices).map(|i| {
        let to = from + length + usize::from(i < extra);
        let mut column = all[from..to].to_vec();
        from = to;
        if let Some(filler) = call.named(2, "fill_with").filter(|f| f.is_true() && i >= extra) {
            column.push(filler.clone());
        }
        list(column)
    });
    Ok(list(columns.collect()))
}

pub(super) fn dictsort(call: &Call<'_>) -> Result<Value, Fail> {
    let View::Dict(source) = view(call.get(0)) else {
        return Err(Fail::invalid(format!("`dictsort` needs an object, found {}", kind_name(call.get(0)))));
    };
    let cased = call.named(1, "case_sensitive").is_some_and(|v| v.is_true());
    let by = call.named(2, "by").map(text).transpose()?;
    let mut pairs: Vec<(Value, Value)> =
        source.entries.iter().map(|(k, v)| (Value::from(k.as_str()), v.clone())).collect();
    let by_value = by.as_deref() == Some("value");
    sort_by_key(&mut pairs, cased, |(k, v)| if by_value { v.clone() } else { k.clone() })?;
    Ok(list(pairs.into_iter().map(|(k, v)| list(vec![k, v])).collect()))
}

fn sort_by_key<T>(all: &mut [T], cased: bool, key: impl Fn(&T) -> Value) -> Result<(), Fail> {
    let mut failure = None;
    all.sort_by(|a, b| {
        let fold = |v: Value| match view(&v) {
            View::Text(text) if !cased => Value::from(text.to_lowercase()),
            _ => v,
        };
        match order(&fold(key(a)), &fold(key(b))) {
            Ok(ordering) => ordering.unwrap_or(Ordering::Equal),
            Err(fail) => {
                failure = Some(fail);
                Ordering::Equal
            }
        }
    });
    failure.map_or(Ok(()), Err)
}

pub(super) fn sort(call: &Call<'_>) -> Result<Value, Fail> {
    let mut all = items(call)?.to_vec();
    call.charge((all.len() as u64).saturating_mul(16))?;
    let cased = call.named(2, "case_sensitive").is_some_and(|v| v.is_true());
    let attr = call.named(3, "attribute").map(text).transpose()?;
    sort_by_key(&mut all, cased, |v| attr.as_deref().map_or_else(|| v.clone(), |a| attribute(v, a)))?;
    if call.named(1, "reverse").is_some_and(|v| v.is_true()) {
        all.reverse();
    }
    Ok(list(all))
}

pub(super) fn groupby(call: &Call<'_>) -> Result<Value, Fail> {
    let attr = text(call.get(1))?;
    let mut groups: Vec<(String, Vec<Value>)> = Vec::new();
    for item in items(call)? {
        let key = text(&attribute(item, &attr))?;
        match groups.iter_mut().find(|(k, _)| *k == key) {
            Some((_, members)) => members.push(item.clone()),
            None => groups.push((key, vec![item.clone()])),
        }
        call.charge(groups.len() as u64)?;
    }
    Ok(dict(groups.into_iter().map(|(key, members)| (key, list(members)))))
}

pub(super) fn join(call: &Call<'_>) -> Result<Value, Fail> {
    let separator = call.named(1, "del").map(text).transpose()?.unwrap_or_default();
    let attr = call.named(2, "attr").map(text).transpose()?;
    let values = match view(call.get(0)) {
        View::Text(text) => return join_texts(text.chars().map(|c| c.to_string()).collect(), &separator, call),
        _ => items(call)?,
    };
    let parts = values.iter().map(|v| attr.as_deref().map_or_else(|| text(v), |a| text(&attribute(v, a))));
    join_texts(parts.collect::<Result<_, _>>()?, &separator, call)
}

fn join_texts(parts: Vec<String>, separator: &str, call: &Call<'_>) -> Result<Value, Fail> {
    call.charge((parts.len() as u64).saturating_mul(separator.len() as u64))?;
    Ok(Value::from(parts.join(separator)))
}

pub(super) fn to_list(call: &Call<'_>) -> Result<Value, Fail> {
    match view(call.get(0)) {
        View::Text(text) => Ok(characters(text)),
        View::Dict(Dict { entries, .. }) => Ok(list(entries.iter().map(|(k, v)| pair(k, v.clone())).collect())),
        _ => Ok(list(items(call)?.to_vec())),
    }
}

pub(super) fn reverse(call: &Call<'_>) -> Result<Value, Fail> {
    match view(call.get(0)) {
        View::Text(text) => Ok(Value::from(text.chars().rev().collect::<String>())),
        _ => Ok(list(items(call)?.iter().rev().cloned().collect())),
    }
}

pub(super) fn select(call: &Call<'_>, keep: bool) -> Result<Value, Fail> {
    let name = call.named(1, "test").map(text).transpose()?.unwrap_or_else(|| "truthy".to_owned());
    let other = call.named(2, "argument").cloned().unwrap_or(Value::UNDEFINED);
    let mut chosen = Vec::new();
    for item in items(call)? {
        if test(&name, item, &other)? == keep {
            chosen.push(item.clone());
        }
    }
    Ok(list(chosen))
}

pub(super) fn select_attribute(call: &Call<'_>, keep: bool) -> Result<Value, Fail> {
    let attr = text(call.get(1))?;
    Ok(list(items(call)?.iter().filter(|item| attribute(item, &attr).is_true() == keep).cloned().collect()))
}

pub(super) fn sum(call: &Call<'_>) -> Result<Value, Fail> {
    let attr = call.named(1, "attr").map(text).transpose()?;
    let start = call.named(2, "start").map_or(0.0, to_number);
    let values =
        items(call)?.iter().map(|v| attr.as_deref().map_or_else(|| to_number(v), |a| to_number(&attribute(v, a))));
    let total = values.fold(start, |sum, v| sum + v);
    if total.is_nan() { Err(Fail::invalid("`sum` needs numbers")) } else { Ok(number(total)) }
}
