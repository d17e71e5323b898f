//! The values of directives: the first of each counts.

use super::config_file::{Directive, Place};
use crate::Error;

/// The directives that apply, in order.
pub(crate) struct Found(pub(crate) Vec<Directive>);

impl Found {
    pub(crate) fn first(&self, keyword: &str) -> Result<Option<(&str, &Directive)>, Error> {
        let Some(directive) = self.0.iter().find(|directive| directive.keyword == keyword) else {
            return Ok(None);
        };
        Ok(Some((directive.only_value()?, directive)))
    }

    pub(crate) fn flag(&self, keyword: &str) -> Result<Option<bool>, Error> {
        let Some((value, directive)) = self.first(keyword)? else {
            return Ok(None);
        };
        match value.to_ascii_lowercase().as_str() {
            "yes" | "true" => Ok(Some(true)),
            "no" | "false" => Ok(Some(false)),
            _ => Err(directive.bad_value(value)),
        }
    }

    /// The algorithms that a list names; `edit` says which are supported.
    pub(crate) fn list<T>(
        &self,
        keyword: &str,
        edit: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<(T, Place)>, Error> {
        let Some((list, directive)) = self.first(keyword)? else {
            return Ok(None);
        };
        let place = directive.place.clone();
        match edit(list) {
            Ok(algorithms) => Ok(Some((algorithms, place))),
            Err(why) => Err(place.error(format_args!("{keyword}: {why}; use -e ssh"))),
        }
    }

    /// A time: plain seconds, or with units as in `1m30s`.
    pub(crate) fn seconds(&self, keyword: &str) -> Result<Option<u64>, Error> {
        let Some((value, directive)) = self.first(keyword)? else {
            return Ok(None);
        };
        match parse_seconds(value) {
            Some(seconds) => Ok(Some(seconds)),
            None => Err(directive.bad_value(value)),
        }
    }
}

impl Directive {
    pub(crate) fn value(&self) -> Result<&str, Error> {
        match self.arguments.first() {
            Some(value) if !value.is_empty() => Ok(value),
            _ => Err(self
                .place
                .error(format_args!("{} needs a value", self.keyword))),
        }
    }

    /// The value of a directive that has one; ssh takes no more either.
    pub(crate) fn only_value(&self) -> Result<&str, Error> {
        match self.arguments.len() {
            0 | 1 => self.value(),
            _ => {
                let what = format_args!("{} has more than one value", self.keyword);
                Err(self.place.error(what))
            }
        }
    }

    pub(crate) fn bad_value(&self, value: &str) -> Error {
        self.place
            .error(format_args!("{}: bad value {value}", self.keyword))
    }
}

pub(crate) fn parse_seconds(text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    let mut number: Option<u64> = None;
    for c in text.chars() {
        if let Some(digit) = c.to_digit(10) {
            let so_far = number
                .unwrap_or(0)
                .checked_mul(10)?
                .checked_add(digit.into())?;
            number = Some(so_far);
            continue;
        }
        let unit = match c.to_ascii_lowercase() {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    total.checked_add(number.unwrap_or(0))
}
