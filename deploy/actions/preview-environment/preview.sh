#!/usr/bin/env bash
# Asks Slipway for the preview of a pull request, waits for it and tells where it answers; or deletes it.
# Needs bash 3.2, curl and a POSIX awk. Reads INPUT_* and what GitHub gives to every step; see README.md beside this file.
set -euo pipefail
set +x
umask 077

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# --- telling ---------------------------------------------------------------------------------------------------------------------

# One line, safe for the runner, which reads commands out of what a step prints.
line() {
  local text=${1//$'\r'/ }
  text=${text//$'\n'/ }
  text=${text//::/: :}
  printf '%s' "${text//\#\#\[/# # [}"
}

say() { printf '%s\n' "  $(line "$1")"; }

# annotate error|warning|notice <title> <text>
annotate() {
  local text
  text=$(line "$3")
  printf '::%s title=%s::%s\n' "$1" "$2" "${text//\%/%25}"
}

fail() {
  annotate error 'Slipway preview' "$1"
  exit 1
}

put() {
  printf '%s=%s\n' "$1" "$(line "$2")" >>"${GITHUB_OUTPUT:-/dev/null}"
}

# --- JSON ------------------------------------------------------------------------------------------------------------------------

# Every scalar of a JSON document as one line `.path[0].to.it=value`; line breaks inside a value become spaces.
flatten() {
  awk '
    function space() { while (at <= len && index(" \t\r\n", substr(text, at, 1))) at++ }
    function hex(digits,   i, n) {
      n = 0
      for (i = 1; i <= 4; i++) n = n * 16 + index("0123456789abcdef", tolower(substr(digits, i, 1))) - 1
      return n
    }
    function string(   out, c) {
      out = ""; at++
      while (at <= len) {
        c = substr(text, at, 1)
        if (c == "\"") { at++; return out }
        if (c == "\\") {
          at++; c = substr(text, at, 1)
          if (c == "u") { c = hex(substr(text, at + 1, 4)); at += 4; c = (c >= 32 && c < 127) ? sprintf("%c", c) : "?" }
          else if (index("nrtbf", c)) c = " "
        }
        out = out c; at++
      }
      exit 1
    }
    function value(path,   key, n, start) {
      space()
      if (++depth > 64) exit 1
      if (substr(text, at, 1) == "{") {
        at++; space()
        while (substr(text, at, 1) == "\"") {
          key = string(); space()
          if (substr(text, at++, 1) != ":") exit 1
          value(path "." key); space()
          if (substr(text, at, 1) == ",") { at++; space() }
        }
        if (substr(text, at++, 1) != "}") exit 1
      } else if (substr(text, at, 1) == "[") {
        at++; space(); n = 0
        while (at <= len && substr(text, at, 1) != "]") {
          value(path "[" n++ "]"); space()
          if (substr(text, at, 1) == ",") { at++; space() }
        }
        if (substr(text, at++, 1) != "]") exit 1
      } else if (substr(text, at, 1) == "\"") {
        print path "=" string()
      } else {
        start = at
        while (at <= len && !index(",]} \t\r\n", substr(text, at, 1))) at++
        if (at == start) exit 1
        print path "=" substr(text, start, at - start)
      }
      depth--
    }
    { text = text $0 " " }
    END { len = length(text); at = 1; value("") }
  ' "$1" >"$work/flat" 2>/dev/null || : >"$work/flat"
}

# The value at a path of the answer last flattened; empty if there is none.
get() {
  awk -v want="$1=" 'index($0, want) == 1 { print substr($0, length(want) + 1); exit }' "$work/flat"
}

# Text that `plain` has looked at, as JSON.
json_string() {
  local text=$1
  text=${text//\\/\\\\}
  printf '"%s"' "${text//\"/\\\"}"
}

plain() {
  case $2 in *[[:cntrl:]]*) fail "$1: has a control character" ;; esac
}

# --- calls -----------------------------------------------------------------------------------------------------------------------

uuid() {
  local h
  h=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  printf '%s-%s-4%s-8%s-%s' "${h:0:8}" "${h:8:4}" "${h:13:3}" "${h:17:3}" "${h:20:12}"
}

percent() {
  local text=$1 out='' c i
  for ((i = 0; i < ${#text}; i++)); do
    c=${text:i:1}
    case $c in
      [a-zA-Z0-9._~-]) out+=$c ;;
      *) out+=$(printf '%%%02X' "'$c") ;;
    esac
  done
  printf '%s' "$out"
}

token_at=-1000

# A token of this job for Slipway, no older than two minutes; it goes into a file that curl reads, never into an argument.
authorize() {
  if ((SECONDS - token_at < 120)); then return; fi
  local status token
  printf 'Authorization: bearer %s\n' "$ACTIONS_ID_TOKEN_REQUEST_TOKEN" >"$work/ask"
  status=$(curl --silent --show-error --max-time 30 --retry 3 --header @"$work/ask" --output "$work/id" \
    --write-out '%{http_code}' "$ACTIONS_ID_TOKEN_REQUEST_URL&audience=$(percent "$audience")") || status=000
  rm -f "$work/ask"
  flatten "$work/id"
  token=$(get .value)
  rm -f "$work/id" "$work/flat"
  if [ "$status" != 200 ] || [ -z "$token" ]; then
    fail "GitHub gave this job no token (HTTP $status)"
  fi
  if [ "${GITHUB_ACTIONS:-}" = true ]; then printf '::add-mask::%s\n' "$token"; fi
  printf 'Authorization: Bearer %s\n' "$token" >"$work/authorization"
  token_at=$SECONDS
}

# call <path> <body> <seconds>: posts, repeats what may be repeated with the same body, and sets $status; the answer is flattened.
call() {
  local tries=0 pause reason
  printf '%s' "$2" >"$work/body"
  while :; do
    authorize
    rm -f "$work/headers" "$work/answer"
    status=$(curl --silent --show-error --max-time "$3" --header @"$work/authorization" --header 'Content-Type: application/json' \
      --data-binary @"$work/body" --dump-header "$work/headers" --output "$work/answer" --write-out '%{http_code}' \
      "$address$1" 2>"$work/curl") || status=000
    if [ -s "$work/answer" ]; then flatten "$work/answer"; else : >"$work/flat"; fi
    reason=$(get '.details[0].reason')
    pause=$(awk 'tolower($1) == "retry-after:" { print $2 + 0; exit }' "$work/headers" 2>/dev/null || true)
    case $status in
      401)
        if [ "$reason" != TOKEN_EXPIRED ] || ((SECONDS - token_at < 30)); then return; fi
        token_at=-1000
        pause=0
        ;;
      429) if [ -z "$pause" ]; then return; fi ;;
      000 | 502 | 503 | 504) ;;
      *) return ;;
    esac
    tries=$((tries + 1))
    if ((tries > 6)); then return; fi
    if [ -z "$pause" ]; then pause=$((tries * tries)); fi
    if ((pause > 60)); then pause=60; fi
    say "$(outcome); again in $pause s"
    sleep "$pause"
  done
}

# What the last call came to, in one line.
outcome() {
  if [ "$status" = 000 ]; then
    printf '%s cannot be reached: %s' "$address" "$(tail -n 1 "$work/curl" | tr -d '\r\n')"
  else
    printf 'HTTP %s %s: %s' "$status" "$(get '.details[0].reason')" "$(get .message)"
  fi
}

# Every field that the last answer finds wrong.
violations() {
  awk '
    /^\.details\[[0-9]+\]\.[a-zA-Z]*[vV]iolations\[[0-9]+\]\./ {
      split($0, parts, "="); key = parts[1]; text = substr($0, length(key) + 2); name = key; sub(/.*\./, "", name)
      if (name == "field" || name == "subject") held = text
      if (name == "description") print held ": " text
    }' "$work/flat"
}

refused() {
  local reason violation
  reason=$(get '.details[0].reason')
  while IFS= read -r violation; do say "$violation"; done < <(violations)
  put state REFUSED
  put reason "${reason:-HTTP_$status}"
  if [ "$status" = 401 ]; then
    say 'No trust entry of Slipway admits this job, or the audience is not the one Slipway is set up with. The job is:'
    say "repository_id=${GITHUB_REPOSITORY_ID:-?} repository_owner_id=${GITHUB_REPOSITORY_OWNER_ID:-?} event=${GITHUB_EVENT_NAME:-?} ref=${GITHUB_REF:-?} audience=$audience"
    say 'A maintainer of the owning team compares that with the trust entries of the service; docs/ci.md says how.'
  elif [ "$status" = 403 ]; then
    say "A pull request's job may act on the preview of that pull request alone, for the services its trust entries name."
  fi
  fail "$(outcome)"
}

# --- the environment -------------------------------------------------------------------------------------------------------------

word() {
  local text=$1
  printf '%s' "${text#ENVIRONMENT_STATE_}"
}

# Reads the environment of the last answer.
observe() {
  name=$(get .name)
  url=$(get .url)
  namespace=$(get .namespace)
  state=$(word "$(get .state)")
  generation=$(get .generation)
  observed=$(get .observedGeneration)
  shown_sha=$(get .source.headSha)
  # The first condition that does not hold says why.
  IFS=$'\t' read -r reason message < <(awk '
    function tell() { if (bad && !told) { print reason "\t" text; told = 1 } bad = 0; reason = ""; text = "" }
    /^\.conditions\[[0-9]+\]\./ {
      key = $0; sub(/=.*/, "", key); value = substr($0, length(key) + 2)
      place = key; sub(/\]\..*/, "", place); if (place != last) tell(); last = place
      if (key ~ /\.status$/) bad = (value ~ /FALSE$/)
      if (key ~ /\.reason$/) reason = value
      if (key ~ /\.message$/) text = value
    }
    END { tell(); if (!told) print "\t" }' "$work/flat")
}

publish() {
  put environment "$name"
  put url "$url"
  put namespace "$namespace"
  put state "$state"
  put reason "$reason"
  # shellcheck disable=SC2016 # the backticks are Markdown
  if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then
    {
      printf '### Slipway preview: %s\n\n' "$state"
      if [ -n "$url" ]; then printf '<%s>\n\n' "$(line "$url")"; fi
      printf '| | |\n|---|---|\n| Environment | `%s` |\n' "$(line "$name")"
      if [ -n "$namespace" ]; then printf '| Namespace | `%s` |\n' "$(line "$namespace")"; fi
      if [ -n "$reason" ]; then printf '| Reason | `%s` %s |\n' "$(line "$reason")" "$(line "${message//|/ }")"; fi
    } >>"$GITHUB_STEP_SUMMARY"
  fi
}

# neutral <state> <reason> <text>: nothing to do for this commit, which is no failure.
neutral() {
  name=${name:-} url=${url:-} namespace=${namespace:-} state=$1 reason=$2 message=$3
  publish
  annotate notice 'Slipway preview' "$3"
  exit 0
}

superseded() {
  neutral SUPERSEDED STALE_COMMIT "Superseded: pull request $pull_request is at $1 by now, and this run built $head_sha. The newer run goes on."
}

# Whether the environment came to rest. A loss of health does so only once it lasted: the first seconds of a rollout may look like one.
is_over() {
  if [ "$command" = delete ]; then
    [ "$state" = DELETED ]
    return
  fi
  if [ "${observed:-0}" != "${generation:-0}" ]; then return 1; fi
  if [ "$state" != DEGRADED ]; then degraded_at=''; fi
  case $state in
    DEGRADED)
      degraded_at=${degraded_at:-$SECONDS}
      ((SECONDS - degraded_at >= patience))
      ;;
    READY | PUBLISHED | FAILED | ASLEEP | AWAITING_APPROVAL | DELETE_BLOCKED | DELETED | QUARANTINED) return 0 ;;
    *) return 1 ;;
  esac
}

await() {
  local started=$SECONDS left told='' now condition='' asked patience=$((wait_timeout / 20)) degraded_at=''
  if ((patience > 60)); then patience=60; fi
  if [ "$command" = delete ]; then condition='"condition": "WAIT_CONDITION_DELETED", '; fi
  while ! is_over; do
    now="$state${reason:+ $reason}${message:+: $message}"
    if [ "$now" != "$told" ]; then say "$((SECONDS - started)) s: $now"; fi
    told=$now
    left=$((wait_timeout - (SECONDS - started)))
    if ((left <= 0)); then return 1; fi
    # Short calls: proxies cut quiet ones, and each shows what changed.
    if ((left > 50)); then left=50; fi
    if [ "$state" = DEGRADED ] && ((left > patience)); then left=$((patience > 0 ? patience : 1)); fi
    asked=$SECONDS
    call "/v1/$name:wait" "{${condition}\"timeout\": \"${left}s\"}" "$((left + 20))"
    if [ "$status" != 200 ]; then refused; fi
    observe
    if ((SECONDS == asked)); then sleep 1; fi
    if [ "$command" = ensure ] && [ -n "$shown_sha" ] && [ "$shown_sha" != "$head_sha" ]; then superseded "$shown_sha"; fi
  done
}

ensure() {
  local images='' entry
  while IFS= read -r entry; do
    entry=${entry#"${entry%%[![:space:]]*}"}
    entry=${entry%"${entry##*[![:space:]]}"}
    if [ -z "$entry" ]; then continue; fi
    plain images "$entry"
    case $entry in *=*) ;; *) fail "images: $entry is not name=repository@sha256:digest" ;; esac
    images+="${images:+, }$(json_string "${entry%%=*}"): $(json_string "${entry#*=}")"
  done <<<"${INPUT_IMAGES:-}"
  call /v1/environments:ensurePreview "{\"service\": $(json_string "$service"), \"pullRequest\": \"$pull_request\", \"headSha\": $(json_string "$head_sha"), \"images\": {$images}, \"requestId\": \"$(uuid)\"}" 60
  if [ "$status" != 200 ]; then
    case $(get '.details[0].reason') in
      STALE_COMMIT) superseded "$(get '.details[0].metadata.head_sha')" ;;
      PULL_REQUEST_ENDED | PREVIEW_ENDED) neutral ENDED "$(get '.details[0].reason')" "$(get .message)" ;;
      PREVIEW_DISABLED) neutral DISABLED PREVIEW_DISABLED "$(get .message)" ;;
    esac
    refused
  fi
  observe
  say "$name of pull request $pull_request at $head_sha"
  if ((wait_timeout > 0)) && ! await; then
    publish
    fail "$name is still $state after $wait_timeout s${reason:+ ($reason: $message)}"
  fi
  publish
  case $state in
    FAILED | AWAITING_APPROVAL | DELETE_BLOCKED | DELETED | QUARANTINED) fail "$name is $state${reason:+ ($reason: $message)}" ;;
    DEGRADED)
      if [ "$fail_on" = DEGRADED ]; then fail "$name is DEGRADED${reason:+ ($reason: $message)}"; fi
      annotate warning 'Slipway preview' "$name is DEGRADED${reason:+ ($reason: $message)}"
      ;;
    *) say "$state${url:+ at $url}" ;;
  esac
}

delete() {
  call /v1/environments:deletePreview "{\"service\": $(json_string "$service"), \"pullRequest\": \"$pull_request\", \"requestId\": \"$(uuid)\"}" 60
  if [ "$status" = 404 ] && [ "$(get '.details[0].reason')" = NOT_FOUND ]; then
    neutral DELETED '' "Pull request $pull_request has no preview."
  fi
  if [ "$status" != 200 ]; then refused; fi
  observe
  if ((wait_timeout > 0)) && ! await; then
    publish
    fail "$name is still $state after $wait_timeout s${reason:+ ($reason: $message)}"
  fi
  publish
  say "$name is $state"
}

# --- what is asked for -----------------------------------------------------------------------------------------------------------

address=${INPUT_ADDRESS:-}
address=${address%/}
audience=${INPUT_AUDIENCE:-}
audience=${audience:-$address}
command=${INPUT_COMMAND:-ensure}
service=${INPUT_SERVICE:-}
pull_request=${INPUT_PULL_REQUEST:-}
head_sha=${INPUT_HEAD_SHA:-}
fail_on=${INPUT_FAIL_ON:-FAILED}
wait_timeout=${INPUT_WAIT_TIMEOUT:-1200}

case $address in
  https://?* | http://127.0.0.1:* | http://localhost:*) ;;
  *) fail 'address: must begin with https://, since a token goes there' ;;
esac
plain service "$service"
if [ -z "$service" ]; then fail 'service: must name a component of the catalog'; fi
case $pull_request in '' | *[!0-9]*) fail 'pull_request: must be a number; outside events of pull requests it has to be given' ;; esac
case $wait_timeout in '' | *[!0-9]*) fail 'wait_timeout: must be a number of seconds' ;; esac
case $fail_on in FAILED | DEGRADED) ;; *) fail 'fail_on: must be FAILED or DEGRADED' ;; esac
case $command in
  ensure) case $head_sha in '' | *[!0-9a-f]*) fail 'head_sha: must be a full commit id' ;; esac ;;
  delete) ;;
  *) fail 'command: must be ensure or delete' ;;
esac
if [ -z "${ACTIONS_ID_TOKEN_REQUEST_URL:-}" ] || [ -z "${ACTIONS_ID_TOKEN_REQUEST_TOKEN:-}" ]; then
  fail 'this job has no identity: its permissions need "id-token: write", and GitHub gives none to pull requests of forks'
fi

"$command"
