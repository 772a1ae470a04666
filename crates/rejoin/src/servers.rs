//! What the servers of one client must have in common: all of them get the same login.

use rejoin_core::ConfigError;

use crate::secret::Secret;
use crate::url::{Scheme, ServerUrl};

/// User name and password.
pub(crate) type Given = (Option<String>, Option<Secret>);

/// Every way to a server must be in this build: without TLS a secure one would be spoken to in clear.
pub(crate) fn check_features(servers: &[ServerUrl]) -> Result<(), ConfigError> {
    let missing = servers.iter().find_map(|server| Some((server.scheme, server.scheme.missing_feature()?)));
    missing.map_or(Ok(()), |(scheme, feature)| {
        let what = format!("`{}` needs the feature `{feature}` of the crate rejoin", scheme.name());
        Err(ConfigError::new("servers", what))
    })
}

/// The login that stands in the URLs, which goes to every server.
pub(crate) fn login(servers: &[ServerUrl]) -> Result<Option<Given>, ConfigError> {
    let given = |server: &ServerUrl| (server.user.clone(), server.password.clone());
    let mut named = servers.iter().filter(|server| server.user.is_some() || server.password.is_some());
    let Some(first) = named.next() else { return Ok(None) };
    if named.any(|other| given(other) != given(first)) {
        return Err(ConfigError::new(
            "login",
            "the URLs of the servers hold different logins, and one login goes to all of them; give it with login()",
        ));
    }
    let has_login = |server: &&ServerUrl| given(server) == given(first);
    let promised = servers.iter().filter(has_login).any(|server| server.scheme.is_secure());
    if let Some(clear) = servers.iter().find(|server| promised && in_clear(server.scheme)) {
        return Err(ConfigError::new(
            "login",
            format!(
                "it stands in a URL of TLS and would go to {} in clear; make that one secure, or give it with login()",
                clear.place()
            ),
        ));
    }
    Ok(Some(given(first)))
}

/// Whoever is on the way can read what is said; nobody is on the way to a socket file.
const fn in_clear(scheme: Scheme) -> bool {
    !scheme.is_secure() && !matches!(scheme, Scheme::Unix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Client, Session};

    /// What the builder says about servers of these URLs.
    fn refused(change: impl FnOnce(crate::Builder) -> crate::Builder, urls: &[&str]) -> Option<String> {
        let servers = urls.iter().map(|url| {
            let mut server = ServerUrl::parse(&url.replace("mqtts", "mqtt")).unwrap();
            // The scheme of TLS parses only with its feature.
            if url.starts_with("mqtts") {
                server.scheme = Scheme::Tls;
            }
            server
        });
        let error = change(Client::builder_for(servers)).prepare().err().map(|error| error.to_string());
        assert!(!error.as_ref().is_some_and(|text| text.contains("s3cret")), "{error:?}");
        error
    }

    #[tokio::test]
    async fn one_login_goes_to_all_servers_or_the_urls_are_refused() {
        let as_it_is = |builder: crate::Builder| builder;
        assert_eq!(refused(as_it_is, &["mqtt://alice:s3cret@a", "mqtt://b"]), None);
        assert_eq!(refused(as_it_is, &["mqtt://alice:s3cret@a", "mqtt://alice:s3cret@b"]), None);
        for differs in ["mqtt://bob:s3cret2@b", "mqtt://alice:s3cret2@b", "mqtt://alice@b"] {
            let urls = ["mqtt://alice:s3cret@a", differs];
            let told = refused(as_it_is, &urls).expect("two logins");
            assert!(told.contains("different logins") && told.contains("login()"), "{told}");
            assert_eq!(refused(|builder| builder.login("carol", "x"), &urls), None, "it was said which");
        }
    }

    #[cfg(feature = "tls")]
    #[tokio::test]
    async fn a_login_of_a_secure_url_goes_nowhere_in_clear() {
        let as_it_is = |builder: crate::Builder| builder;
        for clear in ["mqtt://b", "mqtt://alice:s3cret@b"] {
            let told = refused(as_it_is, &["mqtts://alice:s3cret@a", clear]).expect("in clear");
            assert!(told.contains("b:1883 in clear"), "{told}");
        }
        for fine in
            [["mqtts://alice:s3cret@a", "mqtts://b"], ["mqtts://alice:s3cret@a", "unix:///run/b.sock"]]
        {
            assert_eq!(refused(as_it_is, &fine), None);
        }
        assert_eq!(
            refused(as_it_is, &["mqtt://alice:s3cret@a", "mqtts://b"]),
            None,
            "clear is what was asked for"
        );
    }

    #[cfg(feature = "tls")]
    #[tokio::test]
    async fn settings_of_tls_for_servers_without_it_are_refused() {
        let secured = |builder: crate::Builder| builder.tls(crate::Tls::new().server_name("broker.example"));
        let told = refused(secured, &["mqtt://a", "mqtt://b"]).expect("in clear");
        assert!(told.contains("mqtts://"), "{told}");
        assert_eq!(refused(secured, &["mqtt://a", "mqtts://b"]), None);
    }

    #[cfg(not(feature = "tls"))]
    #[tokio::test]
    async fn a_secure_server_made_of_its_parts_is_refused_without_tls() {
        let told = refused(|builder| builder, &["mqtts://a"]).expect("no TLS in this build");
        assert!(told.contains("feature `tls`"), "{told}");
    }

    #[tokio::test]
    async fn a_session_that_is_kept_needs_a_name_to_be_found_by() {
        let kept = |builder: crate::Builder| builder.session(Session::kept_forever());
        let told = refused(kept, &["mqtt://a"]).expect("no client id");
        assert!(told.contains("client_id"), "{told}");
        assert_eq!(refused(kept, &["mqtt://a?client_id=me"]), None);
        assert_eq!(refused(|builder| kept(builder).client_id("me"), &["mqtt://a"]), None);
        let by_hand =
            |builder| kept(builder).config(|config| config.client_id = crate::Text::from_static("me"));
        assert_eq!(refused(by_hand, &["mqtt://a"]), None);
    }
}
