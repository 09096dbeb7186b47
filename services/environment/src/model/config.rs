//! `.slipway/environments.yaml`: how a service wants its environments (ENV-13).
//!
//! Owns the format, its defaults and its limits. Refuses unknown keys and paths that leave the repository.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{access::Access, lifecycle::Lifecycle, tier::Tier};

/// Where the file stands in a repository.
pub const PATH: &str = ".slipway/environments.yaml";
/// How the fault of a repository without the file begins.
pub const MISSING: &str = "no .slipway/environments.yaml";
/// Largest file that is read.
pub const BYTES_MAX: usize = 64 << 10;
/// Key of the value files that previews of pull requests and branches get instead of those of their tier.
const PREVIEW: &str = "preview";
const IMAGES_MAX: usize = 20;
const PATH_BYTES_MAX: usize = 200;
const VALUE_FILES_MAX: usize = 8;

/// Configuration of one service's environments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// Version of the format; only `slipway.dev/v1`.
    pub api_version: String,
    /// Always `Environments`.
    pub kind: String,
    /// The chart that is rendered.
    #[serde(default)]
    pub chart: Chart,
    /// Images that must be known before anything is rendered.
    #[serde(default = "default_images")]
    pub images: Vec<Image>,
    /// Keys of the chart's values that the platform sets; a key left out is not set.
    #[serde(default)]
    pub platform: PlatformKeys,
    /// Pull request previews.
    #[serde(default)]
    pub preview: Preview,
    /// Who may use the addresses.
    #[serde(default)]
    pub access: Access,
    /// How it is tried whether the address answers.
    #[serde(default)]
    pub probe: Probe,
    /// How long environments live and lie idle.
    #[serde(default)]
    pub lifecycle: Lifecycle,
}

/// How it is tried whether an address answers (ENV-102).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Probe {
    /// What is asked for.
    pub path: String,
    /// The code that is wanted; anything below 500 if absent.
    pub code: Option<u16>,
}

impl Default for Probe {
    fn default() -> Self {
        Self { path: "/".to_owned(), code: None }
    }
}

impl Probe {
    /// What is wrong with it, if anything.
    fn fault(&self) -> Option<String> {
        let plain = self.path.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'#' | b'\\'));
        let own = self.path.starts_with('/') && !self.path.starts_with("//");
        if !(own && plain && self.path.len() <= PATH_BYTES_MAX) {
            return Some("probe.path: an absolute path".to_owned());
        }
        let is_code = self.code.is_none_or(|code| (200..600).contains(&code));
        (!is_code).then(|| "probe.code: 200 to 599".to_owned())
    }
}

/// The chart of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Chart {
    /// Folder of the chart, from the service's folder.
    pub path: String,
    /// Value files by tier, or `preview`, later wins, from the service's folder.
    pub values: BTreeMap<String, Vec<String>>,
}

impl Default for Chart {
    fn default() -> Self {
        Self { path: "chart".to_owned(), values: BTreeMap::new() }
    }
}

/// One image of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Image {
    /// Name under which it is passed, for example `app`.
    pub name: String,
    /// Who says which digest it has.
    #[serde(default)]
    pub source: ImageSource,
    /// Key of the chart's values that gets `repository` and `digest`, for example `image`.
    #[serde(default = "default_image_key")]
    pub values: String,
}

/// Who says which digest an image has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageSource {
    /// CI passes it with the call that names the commit.
    #[default]
    Ci,
}

/// Keys of the chart's values that the platform sets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct PlatformKeys {
    /// Gets the host name, for example `route.host`.
    pub host: Option<String>,
    /// Gets the map of labels, for example `labels`.
    pub labels: Option<String>,
    /// Gets the list of names of Secrets, for example `secrets.names`.
    pub secret_names: Option<String>,
}

/// Pull request previews of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Preview {
    /// Whether pull requests get previews.
    pub enabled: bool,
    /// Whether drafts get them too.
    pub drafts: bool,
    /// Label a pull request must have; none if empty.
    pub label: String,
    /// What ends a preview.
    pub retire_on: Vec<RetireOn>,
}

impl Default for Preview {
    fn default() -> Self {
        let retire_on = vec![RetireOn::Closed, RetireOn::Merged, RetireOn::BranchDeleted];
        Self { enabled: true, drafts: true, label: String::new(), retire_on }
    }
}

/// What ends a preview (ENV-24).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetireOn {
    /// The pull request is closed without being merged.
    Closed,
    /// The pull request is merged.
    Merged,
    /// Its branch is deleted.
    BranchDeleted,
    /// The required label is taken off.
    Unlabeled,
}

fn default_image_key() -> String {
    "image".to_owned()
}

fn default_images() -> Vec<Image> {
    vec![Image { name: "app".to_owned(), source: ImageSource::Ci, values: default_image_key() }]
}

impl Default for Config {
    fn default() -> Self {
        Self {
            api_version: "slipway.dev/v1".to_owned(),
            kind: "Environments".to_owned(),
            chart: Chart::default(),
            images: default_images(),
            platform: PlatformKeys::default(),
            preview: Preview::default(),
            access: Access::default(),
            probe: Probe::default(),
            lifecycle: Lifecycle::default(),
        }
    }
}

impl Config {
    /// Value files of an environment, later wins: previews have their own if the service says so, else those of their tier.
    pub fn value_files(&self, tier: Tier, is_preview: bool) -> &[String] {
        let own = self.chart.values.get(PREVIEW).filter(|_| is_preview);
        own.or_else(|| self.chart.values.get(tier.word())).map_or(&[], Vec::as_slice)
    }

    /// Names of images that are not among the given ones.
    pub fn images_missing<'a>(&'a self, images: &BTreeMap<String, String>) -> Vec<&'a str> {
        self.images.iter().map(|i| i.name.as_str()).filter(|name| !images.contains_key(*name)).collect()
    }

    /// Whether this ends a preview.
    pub fn retires_on(&self, what: RetireOn) -> bool {
        self.preview.retire_on.contains(&what)
    }
}

/// The configuration of a change: what it says of itself, with what ends previews as the base says it. A change cannot make its own
/// preview outlive it (ENV-13); where the base has no file that can be read, its word is all there is.
pub fn with_rules_of(own: Result<Config, String>, base: &Result<Config, String>) -> Result<Config, String> {
    let (Ok(mut own), Ok(base)) = (own.clone(), base) else { return own };
    own.preview.retire_on.clone_from(&base.preview.retire_on);
    Ok(own)
}

/// Reads the file.
///
/// # Errors
/// One text with every fault found, for the condition.
pub fn parse(text: &str) -> Result<Config, String> {
    if text.len() > BYTES_MAX {
        return Err(format!("{PATH} is larger than {BYTES_MAX} bytes"));
    }
    let config: Config =
        serde_saphyr::from_str(text).map_err(|e| format!("{PATH}: {}", first_lines(&e.to_string())))?;
    let faults = faults(&config);
    if faults.is_empty() { Ok(config) } else { Err(format!("{PATH}: {}", faults.join("; "))) }
}

fn first_lines(text: &str) -> String {
    text.lines().take(4).collect::<Vec<_>>().join(" ").chars().take(600).collect()
}

fn faults(config: &Config) -> Vec<String> {
    let mut faults = Vec::new();
    let mut check = |holds: bool, text: String| {
        if !holds {
            faults.push(text);
        }
    };
    check(config.api_version == "slipway.dev/v1", "apiVersion must be slipway.dev/v1".to_owned());
    check(config.kind == "Environments", "kind must be Environments".to_owned());
    check(is_inside(&config.chart.path), "chart.path must be a relative path inside the repository".to_owned());
    for (tier, files) in &config.chart.values {
        check(tier == PREVIEW || Tier::parse(tier).is_ok(), format!("chart.values.{tier}: no such tier"));
        check(files.len() <= VALUE_FILES_MAX, format!("chart.values.{tier}: at most {VALUE_FILES_MAX} files"));
        for file in files {
            check(
                is_inside(file),
                format!("chart.values.{tier}: {file:?} must be a relative path inside the repository"),
            );
        }
    }
    check(config.images.len() <= IMAGES_MAX, format!("images: at most {IMAGES_MAX}"));
    for (at, image) in config.images.iter().enumerate() {
        check(is_word(&image.name), format!("images[{at}].name: lower case letters, digits and dashes"));
        check(is_key(&image.values), format!("images[{at}].values: keys joined by dots"));
        let twice = config.images[..at].iter().any(|other| other.name == image.name);
        check(!twice, format!("images[{at}].name: {} stands twice", image.name));
    }
    let keys = &config.platform;
    for (field, key) in [("host", &keys.host), ("labels", &keys.labels), ("secretNames", &keys.secret_names)] {
        check(key.as_deref().is_none_or(is_key), format!("platform.{field}: keys joined by dots"));
    }
    check(config.preview.label.len() <= 50, "preview.label: at most 50 characters".to_owned());
    for fault in [config.access.fault(), config.probe.fault()].into_iter().flatten() {
        check(false, fault);
    }
    faults.extend(config.lifecycle.faults());
    faults
}

/// A path of the service as a path of the repository.
pub fn in_folder(folder: &str, path: &str) -> String {
    if folder.is_empty() { path.to_owned() } else { format!("{}/{path}", folder.trim_matches('/')) }
}

/// Whether a path is relative, plain and stays inside (SAFE-52).
pub fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && path.len() <= PATH_BYTES_MAX
        && !path.contains(['\\', '\0'])
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && !part.starts_with('-'))
}

fn is_word(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !word.is_empty() && word.len() <= 63 && word.chars().all(plain)
}

fn is_key(key: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    !key.is_empty() && key.len() <= 200 && key.split('.').all(|part| !part.is_empty() && part.chars().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_file_gets_the_defaults() {
        let config = parse("apiVersion: slipway.dev/v1\nkind: Environments\n");
        assert_eq!(config, Ok(Config::default()));
    }

    #[test]
    fn a_full_file_is_read() {
        let text = "apiVersion: slipway.dev/v1\nkind: Environments\nchart:\n  path: deploy/chart\n  values:\n    development: [deploy/chart/values-preview.yaml]\n\
            images:\n  - {name: app, source: ci, values: image}\n  - {name: worker, values: worker.image}\n\
            platform: {host: route.host, labels: labels, secretNames: secrets.names}\n\
            preview: {enabled: true, drafts: false, label: preview, retireOn: [closed, merged, unlabeled]}\n";
        let config = parse(text).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(config.value_files(Tier::Development, true), ["deploy/chart/values-preview.yaml"]);
        assert!(config.value_files(Tier::Staging, false).is_empty());
        let known = BTreeMap::from([("app".to_owned(), "x".to_owned())]);
        assert_eq!(config.images_missing(&known), ["worker"]);
        assert!(config.retires_on(RetireOn::Unlabeled) && !config.retires_on(RetireOn::BranchDeleted));
    }

    #[test]
    fn access_is_a_word_or_a_list() {
        let file = |access: &str| parse(&format!("apiVersion: slipway.dev/v1\nkind: Environments\naccess: {access}\n"));
        assert_eq!(file("public").map(|c| c.access), Ok(Access::Public));
        assert_eq!(file("login").map(|c| c.access), Ok(Access::Login));
        let list = Access::AllowList(vec!["group:default/shop".to_owned()]);
        assert_eq!(file("{allow-list: [group:default/shop]}").map(|c| c.access), Ok(list));
        assert!(file("anyone").is_err() && file("{allow-list: [shop]}").is_err());
    }

    #[test]
    fn what_ends_a_preview_is_said_by_the_base() {
        let with = |retire_on: &[RetireOn]| {
            let mut config = Config::default();
            config.preview.retire_on = retire_on.to_vec();
            config.preview.drafts = retire_on.is_empty();
            Ok(config)
        };
        let own = with(&[]);
        let read =
            with_rules_of(own.clone(), &with(&[RetireOn::Closed])).map(|c| (c.preview.drafts, c.preview.retire_on));
        assert_eq!(read, Ok((true, vec![RetireOn::Closed])));
        assert_eq!(with_rules_of(own.clone(), &Err("none".to_owned())), own);
        assert!(with_rules_of(Err("broken".to_owned()), &own).is_err());
    }

    #[test]
    fn a_probe_is_a_path_and_maybe_a_code() {
        let file = |probe: &str| parse(&format!("apiVersion: slipway.dev/v1\nkind: Environments\nprobe: {probe}\n"));
        let want = Probe { path: "/healthz?a=b".to_owned(), code: Some(204) };
        assert_eq!(file("{path: '/healthz?a=b', code: 204}").map(|c| c.probe), Ok(want));
        for wrong in
            ["{path: healthz}", "{path: //evil}", "{path: '/a b'}", "{code: 99}", "{code: 600}", "{method: GET}"]
        {
            assert!(file(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let text =
            "apiVersion: v2\nkind: Environments\nchart: {path: ../x, values: {moon: [a]}}\nimages: [{name: A B}]\n";
        let faults = parse(text).expect_err("the file is wrong");
        for part in ["apiVersion", "chart.path", "chart.values.moon", "images[0].name"] {
            assert!(faults.contains(part), "{part} is not in: {faults}");
        }
        assert!(parse("apiVersion: slipway.dev/v1\nkind: Environments\nunknown: 1\n").is_err());
    }

    #[test]
    fn paths_stay_inside() {
        for bad in ["", "/etc", "a/../b", "a//b", "./a", "-x", "a\\b", "a/"] {
            assert!(!is_inside(bad), "{bad}");
        }
        assert!(is_inside("deploy/chart"));
    }
}
