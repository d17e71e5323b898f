//! Every directive of ssh_config(5): which are used, which can be left out, and which cannot.

use super::config_file::Directive;
use super::pattern;
use crate::Error;

/// Stops at a directive that matters for security or reachability and is not supported, and at one
/// that is not known at all.
pub(crate) fn refuse_unsupported(found: &[Directive]) -> Result<(), Error> {
    let mut ignored: Vec<&str> = Vec::new();
    for directive in found
        .iter()
        .filter(|directive| directive.keyword == "ignoreunknown")
    {
        ignored.extend(directive.arguments.iter().flat_map(|list| list.split(',')));
    }
    for directive in found {
        let keyword = directive.keyword.as_str();
        if USED.contains(&keyword) || WITHOUT_EFFECT.contains(&keyword) {
            continue;
        }
        let value = directive.arguments.join(" ");
        let refused = REFUSED.iter().find(|(refused, _)| *refused == keyword);
        match refused {
            Some((_, harmless)) => {
                let lower = value.to_ascii_lowercase();
                if !harmless.iter().any(|value| pattern::matches(value, &lower)) {
                    let what = format!("{keyword} {value} is not supported here: use -e ssh");
                    return Err(directive.place.error(what));
                }
            }
            None if pattern::list_matches(ignored.iter().copied(), keyword) => {}
            None => {
                let what = format!("unknown directive {keyword} (IgnoreUnknown would skip it)");
                return Err(directive.place.error(what));
            }
        }
    }
    Ok(())
}

/// Directives that take effect in `config`.
#[rustfmt::skip]
const USED: &[&str] = &[
    "addressfamily", "bindaddress", "checkhostip", "ciphers", "connecttimeout",
    "globalknownhostsfile", "hashknownhosts", "hostkeyalgorithms", "hostkeyalias", "hostname",
    "identitiesonly", "identityagent", "identityfile", "ignoreunknown", "kexalgorithms", "macs",
    "port", "pubkeyacceptedalgorithms", "rekeylimit", "requiredrsasize", "serveralivecountmax",
    "serveraliveinterval", "stricthostkeychecking", "user", "userknownhostsfile",
];

/// Directives that may be left out without making the connection reach elsewhere or trust more.
#[rustfmt::skip]
const WITHOUT_EFFECT: &[&str] = &[
    "addkeystoagent", "batchmode", "canonicaldomains", "canonicalizefallbacklocal",
    "canonicalizemaxdots", "canonicalizepermittedcnames", "casignaturealgorithms",
    "challengeresponseauthentication", "channeltimeout", "clearallforwardings",
    "compression", "compressionlevel", "connectionattempts", "controlmaster", "controlpath",
    "controlpersist", "dynamicforward", "enableescapecommandline", "enablesshkeysign",
    "escapechar", "exitonforwardfailure", "fingerprinthash", "forkafterauthentication",
    "forwardagent", "forwardx11", "forwardx11timeout", "forwardx11trusted", "gatewayports",
    "gssapiauthentication", "gssapiclientidentity", "gssapidelegatecredentials",
    "gssapikexalgorithms", "gssapikeyexchange", "gssapirenewalforcesrekey",
    "gssapiserveridentity", "gssapitrustdns", "hostbasedacceptedalgorithms",
    "hostbasedauthentication", "hostbasedkeytypes", "ipqos", "kbdinteractiveauthentication",
    "kbdinteractivedevices", "keyboardinteractiveauthentication", "localcommand", "localforward",
    "loglevel", "logverbose", "nohostauthenticationforlocalhost", "numberofpasswordprompts",
    "obscurekeystroketiming", "passwordauthentication", "permitlocalcommand", "permitremoteopen",
    "protocol", "proxyusefdpass", "remoteforward", "requesttty", "securitykeyprovider", "sendenv",
    "sessiontype", "setenv", "stdinnull", "streamlocalbindmask", "streamlocalbindunlink",
    "syslogfacility", "tag", "tcpkeepalive", "tunnel", "tunneldevice", "updatehostkeys",
    "useprivilegedport", "verifyhostkeydns", "versionaddendum", "visualhostkey", "warnweakcrypto",
    "xauthlocation",
];

/// Directives that cannot be left out, and the values (as patterns) with which they say nothing.
const REFUSED: &[(&str, &[&str])] = &[
    ("bindinterface", &[]),
    ("canonicalizehostname", &["no"]),
    ("certificatefile", &["none"]),
    ("knownhostscommand", &["none"]),
    ("pkcs11provider", &["none"]),
    ("preferredauthentications", &["*publickey*"]),
    ("proxycommand", &["none"]),
    ("proxyjump", &["none"]),
    (
        "pubkeyauthentication",
        &["yes", "true", "unbound", "host-bound"],
    ),
    ("refuseconnection", &[]),
    ("remotecommand", &["none"]),
    ("revokedhostkeys", &["none"]),
    ("smartcarddevice", &["none"]),
];
