//! Reads ssh configuration files and keeps the directives that apply to one destination, in order:
//! the blocks of `Host` and `Match`, and `Include`.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::address::canonical_host;
use super::config_exec;
use super::config_tokens::{Reached, Token};
use super::config_words::{expand_path, expand_tokens, glob, split_line};
use super::destination::{Destination, Environment};
use super::pattern;
use crate::home::no_home;
use crate::{Error, ErrorKind};

/// A directive that applies, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Directive {
    /// In lower case.
    pub(crate) keyword: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) place: Place,
}

/// A line of a file, as messages name it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) file: PathBuf,
    pub(crate) line: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

impl Place {
    /// A configuration error at this place.
    pub(crate) fn error(&self, what: impl std::fmt::Display) -> Error {
        Error::new(ErrorKind::Config, format!("{self}: {what}"))
    }
}

/// The directives for `destination` from `~/.ssh/config` and `/etc/ssh/ssh_config`, or from
/// `only_file` alone.
pub(crate) fn directives(
    destination: &Destination,
    environment: &Environment,
    only_file: Option<&Path>,
) -> Result<Vec<Directive>, Error> {
    let mut walk = Walk {
        destination,
        environment,
        pass: Pass::First,
        wants_final: false,
        found: Vec::new(),
    };
    walk.files(only_file)?;
    if walk.wants_final {
        walk.pass = Pass::Final(canonical_host(&walk.host_name()?));
        walk.files(only_file)?;
    }
    Ok(walk.found)
}

/// The text of a configuration file. Who else may write it may choose the host, and what is run:
/// such a file is refused, as ssh does, but for the system's own. A pipe or a device belongs to
/// whoever named it.
fn read(path: &Path, uid: u32) -> Result<String, Error> {
    let cannot = |e| {
        let message = format!(
            "reading {}: {}",
            path.display(),
            hasync_engine::describe(&e)
        );
        Error::new(ErrorKind::Config, message)
    };
    let mut file = File::open(path).map_err(cannot)?;
    let metadata = file.metadata().map_err(cannot)?;
    let foreign = metadata.uid() != 0 && metadata.uid() != uid;
    let others_write = foreign || metadata.mode() & 0o022 != 0;
    if metadata.is_file() && others_write && path != Path::new(SYSTEM_FILE) {
        let message = format!(
            "{}: must belong to you and be writable by nobody else (chmod go-w)",
            path.display()
        );
        return Err(Error::new(ErrorKind::Config, message));
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(cannot)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Where relative names of `Include` begin.
#[derive(Clone, Copy)]
enum Origin {
    User,
    System,
}

/// A configuration with `Match final` is read twice; what the second pass finds comes last.
enum Pass {
    First,
    /// `Host` then compares the name that is connected to.
    Final(String),
}

struct Walk<'a> {
    destination: &'a Destination,
    environment: &'a Environment,
    pass: Pass,
    wants_final: bool,
    found: Vec<Directive>,
}

impl Walk<'_> {
    fn files(&mut self, only_file: Option<&Path>) -> Result<(), Error> {
        if let Some(file) = only_file {
            return self.file(file, Origin::User, true, &mut true, 0);
        }
        let home = self.environment.home.as_ref();
        let user_file = home.map(|home| home.join(".ssh/config"));
        if let Some(user_file) = user_file.filter(|file| file.exists()) {
            self.file(&user_file, Origin::User, true, &mut true, 0)?;
        }
        let system_file = Path::new(SYSTEM_FILE);
        if system_file.exists() {
            self.file(system_file, Origin::System, true, &mut true, 0)?;
        }
        Ok(())
    }

    /// `enclosing`: whether the block around an `Include` applies. `active`: whether the current
    /// block does; each file begins outside any block and leaves its includer's block as it was.
    fn file(
        &mut self,
        file: &Path,
        origin: Origin,
        enclosing: bool,
        active: &mut bool,
        depth: usize,
    ) -> Result<(), Error> {
        if depth > INCLUDE_MAX_DEPTH {
            let message = format!("{}: Include nested too deeply", file.display());
            return Err(Error::new(ErrorKind::Config, message));
        }
        let text = read(file, self.environment.uid)?;
        for (index, line) in text.lines().enumerate() {
            let place = Place {
                file: file.to_owned(),
                line: index + 1,
            };
            let Some((keyword, arguments)) = split_line(line).map_err(|e| place.error(e))? else {
                continue;
            };
            match keyword.as_str() {
                "host" if arguments.is_empty() => return Err(place.error("Host needs a pattern")),
                "host" => {
                    let host = match &self.pass {
                        Pass::First => &self.destination.host,
                        Pass::Final(host) => host,
                    };
                    let patterns = arguments.iter().map(String::as_str);
                    *active = enclosing && pattern::exact_list_matches(patterns, host);
                }
                "match" => *active = enclosing && self.criteria_hold(&arguments, &place)?,
                "include" if *active => {
                    for argument in &arguments {
                        for included in self.included(argument, origin, &place)? {
                            self.file(&included, origin, true, &mut true, depth + 1)?;
                        }
                    }
                }
                "include" => {}
                _ if *active => self.found.push(Directive {
                    keyword: newest_name(keyword),
                    arguments,
                    place,
                }),
                _ => {}
            }
        }
        Ok(())
    }

    fn included(&self, name: &str, origin: Origin, at: &Place) -> Result<Vec<PathBuf>, Error> {
        let home = self.environment.home.as_deref();
        let bad = |why: String| at.error(format_args!("{name}: {why}"));
        let path = expand_path(name, &self.tokens()?, home).map_err(bad)?;
        let directory = match (origin, home) {
            (Origin::System, _) => PathBuf::from("/etc/ssh"),
            (Origin::User, Some(home)) => home.join(".ssh"),
            (Origin::User, None) if path.is_absolute() => PathBuf::new(),
            (Origin::User, None) => return Err(bad(no_home())),
        };
        glob(&directory.join(path)).map_err(bad)
    }

    fn criteria_hold(&mut self, criteria: &[String], place: &Place) -> Result<bool, Error> {
        if criteria.is_empty() {
            return Err(place.error("Match needs criteria"));
        }
        let mut words = criteria.iter().map(String::as_str);
        let (mut holds, mut before) = (true, 0);
        while let Some(word) = words.next() {
            let (negated, criterion) = word
                .strip_prefix('!')
                .map_or((false, word), |criterion| (true, criterion));
            let criterion = criterion.to_ascii_lowercase();
            let holds_here = match criterion.as_str() {
                "all" if words.len() == 0 && before <= 1 => true,
                "all" => return Err(place.error("Match all goes with no other criteria")),
                "canonical" | "final" => {
                    self.wants_final |= criterion == "final";
                    matches!(self.pass, Pass::Final(_))
                }
                _ => {
                    let value = words.next().filter(|value| !value.is_empty());
                    let value = value.ok_or_else(|| {
                        place.error(format_args!("Match {criterion} needs a value"))
                    })?;
                    // What is false already stays false, whatever the rest says.
                    holds && self.criterion_holds(&criterion, value, place)?
                }
            };
            holds &= holds_here != negated;
            before += 1;
        }
        Ok(holds)
    }

    fn criterion_holds(&self, criterion: &str, value: &str, at: &Place) -> Result<bool, Error> {
        let list = || value.split(',');
        Ok(match criterion {
            "host" => pattern::list_matches(list(), &self.host_name()?),
            "originalhost" => pattern::list_matches(list(), &self.destination.host),
            "user" => pattern::exact_list_matches(list(), &self.user()),
            "localuser" => pattern::exact_list_matches(list(), &self.environment.user),
            "exec" => {
                let command = expand_tokens(value, &self.tokens()?).map_err(|e| at.error(e))?;
                let succeeds = config_exec::succeeds(&command, EXEC_LIMIT);
                succeeds.map_err(|e| at.error(format_args!("Match exec: {e}")))?
            }
            other => {
                let what = format_args!("Match {other} is not supported here: use Host, or -e ssh");
                return Err(at.error(what));
            }
        })
    }

    /// The host name as the directives so far make it: what `Match host` compares.
    fn host_name(&self) -> Result<String, Error> {
        let original = &self.destination.host;
        match (&self.pass, self.first("hostname")) {
            (Pass::Final(host), _) => Ok(host.clone()),
            (Pass::First, Some((name, place))) => {
                expand_tokens(name, &[('h', original.clone())]).map_err(|e| place.error(e))
            }
            (Pass::First, None) => Ok(original.clone()),
        }
    }

    fn tokens(&self) -> Result<Vec<Token>, Error> {
        let port = self.first("port").and_then(|(port, _)| port.parse().ok());
        let reached = Reached {
            host_name: &self.host_name()?,
            port: self.destination.port.or(port).unwrap_or(22),
            user: &self.user(),
            host_key_alias: self.first("hostkeyalias").map(|(alias, _)| alias),
        };
        Ok(reached.tokens(self.destination, self.environment))
    }

    fn user(&self) -> String {
        let given = self.destination.user.as_deref();
        given
            .or_else(|| self.first("user").map(|(user, _)| user))
            .unwrap_or(&self.environment.user)
            .to_owned()
    }

    fn first(&self, keyword: &str) -> Option<(&str, &Place)> {
        let directive = self
            .found
            .iter()
            .find(|directive| directive.keyword == keyword)?;
        Some((directive.arguments.first()?, &directive.place))
    }
}

/// Directives that have two names go by the newer one.
fn newest_name(keyword: String) -> String {
    match keyword.as_str() {
        "pubkeyacceptedkeytypes" => "pubkeyacceptedalgorithms".to_owned(),
        _ => keyword,
    }
}

const SYSTEM_FILE: &str = "/etc/ssh/ssh_config";
/// What the command of a `Match exec` may take.
const EXEC_LIMIT: Duration = Duration::from_secs(10);
/// As many levels of `Include` as ssh allows.
const INCLUDE_MAX_DEPTH: usize = 16;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The keywords and first arguments that apply to `host` under this configuration.
    fn applied(config: &str, host: &str) -> Result<Vec<String>, Error> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config");
        let config = config.replace("DIR", dir.path().to_str().unwrap());
        std::fs::write(&file, config).unwrap();
        std::fs::write(
            dir.path().join("extra.conf"),
            "Port 7\nHost other\nUser no\n",
        )
        .unwrap();
        let destination = Destination {
            host: host.into(),
            ..Destination::default()
        };
        let environment = Environment {
            user: "me".into(),
            uid: nix::unistd::getuid().as_raw(),
            ..Environment::default()
        };
        let found = directives(&destination, &environment, Some(&file))?;
        Ok(found
            .iter()
            .map(|d| format!("{} {}", d.keyword, d.arguments.join(" ")))
            .collect())
    }

    #[test]
    fn host_blocks() {
        let config = "User a\nHost b* !bad\n Port 2\nHost *\n Port 3\n";
        assert_eq!(
            applied(config, "b1").unwrap(),
            ["user a", "port 2", "port 3"]
        );
        assert_eq!(applied(config, "bad").unwrap(), ["user a", "port 3"]);
    }

    #[test]
    fn match_blocks() {
        let config = "HostName %h.lan\nMatch host *.lan user me\n Port 2\n\
                      Match originalhost b !user you\n Port 3\nMatch all\n Port 4\n\
                      Match canonical\n Port 5\n";
        let expected = ["hostname %h.lan", "port 2", "port 3", "port 4"];
        assert_eq!(applied(config, "b").unwrap(), expected);
    }

    #[test]
    fn a_final_pass_compares_the_host_that_is_reached() {
        let config = "Match final all\n Port 1\nHost b\n HostName B.lan\n\
                      Host b.lan\n Port 2\nMatch !final\n Port 3\n";
        let expected = ["hostname B.lan", "port 3", "port 1", "port 2"];
        assert_eq!(applied(config, "b").unwrap(), expected);
    }

    #[test]
    fn a_command_decides_where_the_rest_of_its_line_holds() {
        let config = "Match host b exec \"test %h,%p,%r,%n = b,7,me,b\"\n User yes\n\
                      Match !exec false\n User also\nMatch exec \"exit 1\" host b\n User no\n\
                      Match host c exec \"touch DIR/ran\"\n User no\n";
        let expected = ["port 7", "user yes", "user also"];
        assert_eq!(
            applied(&format!("Port 7\n{config}"), "b").unwrap(),
            expected
        );
        let error = applied("Match exec \"kill -9 $$\"\n Port 1\n", "b").unwrap_err();
        assert!(
            error.to_string().contains("config:1: Match exec"),
            "{error}"
        );
    }

    #[test]
    fn an_unsupported_criterion_stops_only_where_it_decides() {
        for criterion in [
            "localnetwork 10.0.0.0/8",
            "tagged x",
            "sessiontype exec",
            "version *",
        ] {
            let config = format!("Port 1\nMatch host c {criterion}\n Port 2\n");
            assert_eq!(applied(&config, "b").unwrap(), ["port 1"]);
            let error = applied(&config, "c").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            let text = error.to_string();
            assert!(
                text.contains("config:2: Match ") && text.contains("-e ssh"),
                "{text}"
            );
        }
        assert!(applied("Match host b user\n", "b").is_err());
    }

    #[test]
    fn a_file_that_others_may_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("open.conf");
        std::fs::write(&file, "Port 7\n").unwrap();
        let include = format!("Include {}\n", file.display());
        let to = Destination::parse("b");
        let environment = Environment {
            uid: nix::unistd::getuid().as_raw(),
            ..Environment::default()
        };
        for (mode, refused) in [(0o644, false), (0o664, true), (0o646, true), (0o600, false)] {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(&file, mode).unwrap();
            let named = directives(&to, &environment, Some(&file));
            for read in [applied(&include, "b").map(|_| ()), named.map(|_| ())] {
                match read {
                    Ok(()) => assert!(!refused),
                    Err(error) => assert!(refused && error.to_string().contains("open.conf")),
                }
            }
        }
        assert!(directives(&to, &environment, Some(Path::new("/dev/null"))).is_ok());
    }

    #[test]
    fn an_include_leaves_the_block_as_it_was() {
        let config = "Host b\n Include DIR/*.conf\n User yes\nHost c\n Include DIR/extra.conf\n";
        assert_eq!(applied(config, "b").unwrap(), ["port 7", "user yes"]);
        assert_eq!(
            applied("Include DIR/config\n", "b").unwrap_err().kind(),
            ErrorKind::Config
        );
    }
}
