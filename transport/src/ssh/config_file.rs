//! Reads ssh configuration files and keeps the directives that apply to one destination, in order:
//! the blocks of `Host` and `Match`, and `Include`.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::config_words::{expand_path, glob, split_line};
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
        found: Vec::new(),
    };
    match only_file {
        Some(file) => walk.file(file, Origin::User, true, &mut true, 0)?,
        None => {
            let home = environment.home.as_ref();
            let user_file = home.map(|home| home.join(".ssh/config"));
            if let Some(user_file) = user_file.filter(|file| file.exists()) {
                check_owner(&user_file, environment.uid)?;
                walk.file(&user_file, Origin::User, true, &mut true, 0)?;
            }
            let system_file = Path::new("/etc/ssh/ssh_config");
            if system_file.exists() {
                walk.file(system_file, Origin::System, true, &mut true, 0)?;
            }
        }
    }
    Ok(walk.found)
}

/// Who else may write the user's configuration may choose the host: refuse it as ssh does.
fn check_owner(file: &Path, uid: u32) -> Result<(), Error> {
    let cannot = |e| Error::io(format_args!("reading {}", file.display()), &e);
    let metadata = std::fs::metadata(file).map_err(cannot)?;
    if (metadata.uid() != 0 && metadata.uid() != uid) || metadata.mode() & 0o022 != 0 {
        let message = format!(
            "{}: must belong to you and be writable by nobody else (chmod go-w)",
            file.display()
        );
        return Err(Error::new(ErrorKind::Config, message));
    }
    Ok(())
}

/// Where relative names of `Include` begin.
#[derive(Clone, Copy)]
enum Origin {
    User,
    System,
}

struct Walk<'a> {
    destination: &'a Destination,
    environment: &'a Environment,
    found: Vec<Directive>,
}

impl Walk<'_> {
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
        let cannot = |e| {
            let message = format!("reading {}: {}", file.display(), crate::error::Plain(&e));
            Error::new(ErrorKind::Config, message)
        };
        let text = String::from_utf8_lossy(&std::fs::read(file).map_err(cannot)?).into_owned();
        for (index, line) in text.lines().enumerate() {
            let place = Place {
                file: file.to_owned(),
                line: index + 1,
            };
            let Some((keyword, arguments)) = split_line(line).map_err(|e| place.error(e))? else {
                continue;
            };
            match keyword.as_str() {
                "host" => {
                    let patterns = arguments.iter().map(String::as_str);
                    *active = enclosing && pattern::list_matches(patterns, &self.destination.host);
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
                    keyword,
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
        let path =
            expand_path(name, &[], home).map_err(|e| at.error(format_args!("{name}: {e}")))?;
        let directory = match (origin, home) {
            (Origin::System, _) => PathBuf::from("/etc/ssh"),
            (Origin::User, Some(home)) => home.join(".ssh"),
            (Origin::User, None) if path.is_absolute() => PathBuf::new(),
            (Origin::User, None) => return Err(at.error(format_args!("{name}: {}", no_home()))),
        };
        Ok(glob(&directory.join(path)))
    }

    fn criteria_hold(&self, criteria: &[String], place: &Place) -> Result<bool, Error> {
        let mut words = criteria.iter().map(String::as_str);
        let mut holds = true;
        while let Some(word) = words.next() {
            let (negated, criterion) = word
                .strip_prefix('!')
                .map_or((false, word), |criterion| (true, criterion));
            let criterion = criterion.to_ascii_lowercase();
            let holds_here = match criterion.as_str() {
                "all" => true,
                // Host names are never canonicalised here, so that second pass does not come.
                "canonical" | "final" => false,
                "host" | "originalhost" | "user" | "localuser" => {
                    let list = words.next().unwrap_or_default().split(',');
                    let value = match criterion.as_str() {
                        "host" => self.host_name()?,
                        "originalhost" => self.destination.host.clone(),
                        "user" => self.user(),
                        _ => self.environment.user.clone(),
                    };
                    pattern::list_matches(list, &value)
                }
                other => {
                    // What is false already stays false, whatever the rest says.
                    if !holds {
                        return Ok(false);
                    }
                    return Err(place.error(format_args!(
                        "Match {other} is not supported: use Host, or -e ssh"
                    )));
                }
            };
            holds &= holds_here != negated;
        }
        Ok(holds)
    }

    /// The host name as the directives so far make it: what `Match host` compares.
    fn host_name(&self) -> Result<String, Error> {
        let original = &self.destination.host;
        match self.first("hostname") {
            Some((name, place)) => super::config_words::expand_tokens(name, &[('h', original)])
                .map_err(|e| place.error(e)),
            None => Ok(original.clone()),
        }
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
                      Match final\n Port 5\n";
        let expected = ["hostname %h.lan", "port 2", "port 3", "port 4"];
        assert_eq!(applied(config, "b").unwrap(), expected);
    }

    #[test]
    fn an_unsupported_criterion_stops_only_where_it_decides() {
        let config = "Port 1\nMatch host c exec \"true\"\n Port 2\n";
        assert_eq!(applied(config, "b").unwrap(), ["port 1"]);
        let error = applied(config, "c").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(
            error.to_string().contains("config:2: Match exec"),
            "{error}"
        );
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
