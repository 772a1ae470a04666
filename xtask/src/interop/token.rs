//! Tokens for RabbitMQ's OAuth 2: how it checks them, and a script that makes them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// For the node: who it is to tokens, and the key that they are signed with.
pub(super) const SETTINGS: &str = r#"{rabbitmq_auth_backend_oauth2, [{resource_server_id, <<"rabbitmq">>},
  {key_config, [{default_key, <<"k">>}, {signing_keys, #{<<"k">> => {map,
    #{<<"kty">> => <<"MAC">>, <<"alg">> => <<"HS256">>, <<"value">> => <<"only-for-this-test">>}}}}]}]}"#;

const SCRIPT: &str = r#"#!/bin/sh
# Prints a JSON Web Token that is good for $1 seconds and what is left of the present one: it counts whole seconds.
b() { openssl base64 -A | tr '+/' '-_' | tr -d =; }
now=$(date +%s)
head=$(printf '{"alg":"HS256","typ":"JWT","kid":"k"}' | b)
body=$(printf '{"aud":["rabbitmq"],"sub":"rejoin","iat":%s,"exp":%s,"scope":["rabbitmq.read:*/*/*","rabbitmq.write:*/*/*","rabbitmq.configure:*/*/*"]}' "$now" "$((now + 1 + $1))" | b)
proof=$(printf %s "$head.$body" | openssl dgst -sha256 -hmac only-for-this-test -binary | b)
printf '%s.%s.%s\n' "$head" "$body" "$proof"
"#;

/// Writes the script into this folder.
pub(super) fn script(folder: &Path) -> Result<PathBuf, String> {
    let file = folder.join("token");
    fs::write(&file, SCRIPT)
        .and_then(|()| fs::set_permissions(&file, fs::Permissions::from_mode(0o755)))
        .map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(file)
}
