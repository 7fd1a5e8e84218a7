//! An object with its state: as a row, as lines, as JSON.

use crate::state::{Holding, State, Waiting};
use crate::text::{self, Json, cut, printable};
use multiproc_segment::{Content, Look, Named, OpenError};
use std::fmt::Write;
use std::io;

/// A name, what it names, and what that is doing.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) named: Named,
    pub(crate) state: State,
}

impl Object {
    fn of(named: Named) -> Self {
        let state = match &named.content {
            // Gone since it was listed: then there is no state to tell.
            Content::Object(_) => match Look::at(&named.name) {
                Ok(look) => State::of(&look),
                Err(_) => State::unknown(),
            },
            _ => State::unknown(),
        };
        Self { named, state }
    }

    /// All there are, by name.
    pub(crate) fn all() -> io::Result<Vec<Self>> {
        let named = multiproc_segment::list()?;
        Ok(named.into_iter().map(Self::of).collect())
    }

    /// The one of that name.
    pub(crate) fn named(name: &str) -> Result<Self, OpenError> {
        multiproc_segment::look(name).map(Self::of)
    }

    fn kind(&self) -> String {
        match &self.named.content {
            Content::Object(header) => printable(&header.kind.tag),
            Content::NotAnObject(_) => "(no object)".into(),
            Content::Unreadable(_) => "(no permission)".into(),
            _ => "?".into(),
        }
    }

    fn attached(&self) -> String {
        let count = self.named.attached.len();
        match self.named.hidden {
            0 => count.to_string(),
            _ => format!("{count}+"),
        }
    }

    fn holders(&self) -> String {
        let mut pids: Vec<String> = Vec::new();
        for holder in &self.state.holders {
            let said = who(holder);
            if !pids.contains(&said) {
                pids.push(said);
            }
        }
        match pids.len() {
            0 => "-".into(),
            1..=3 => pids.join(","),
            n => format!("{},… ({n})", pids[..2].join(",")),
        }
    }

    fn waiting(&self) -> String {
        match self.state.waiting {
            Waiting::Unknown => "-".into(),
            Waiting::Exactly(n) => n.to_string(),
            Waiting::AtLeast(n) => format!("{n}+"),
        }
    }

    fn summary(&self) -> String {
        let life = match (self.named.stale, self.named.temporary) {
            (true, _) => "stale",
            (_, true) => "temporary",
            _ => "",
        };
        let state = printable(&self.state.summary);
        match (life, state.is_empty()) {
            ("", _) => state,
            (life, true) => life.into(),
            (life, false) => format!("{state}; {life}"),
        }
    }

    /// In full, for a person.
    pub(crate) fn lines(&self) -> String {
        let named = &self.named;
        let mut lines = String::new();
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(lines, "{name:<16} {value}");
        };
        line("name", &printable(&named.name));
        line("kind", &self.kind());
        match &named.content {
            Content::NotAnObject(why) => line("no object", &why.to_string()),
            Content::Unreadable(why) => line("unreadable", &why.to_string()),
            Content::Object(header) => {
                let lifetime = match (named.temporary, named.stale) {
                    (true, true) => "stale: temporary, and nobody has it open",
                    (true, false) => "temporary: until nobody has it open",
                    _ => "until it is removed",
                };
                line("lives", lifetime);
                let body = header.body as u64;
                line("body", &bytes(body));
            }
            _ => {}
        }
        line("memory", &bytes(named.memory));
        line("mode", &format!("{:04o}", named.mode));
        line(
            "owner",
            &format!("user {}, group {}", named.owner, named.group),
        );
        let pids: Vec<String> = named.attached.iter().map(|a| a.pid.to_string()).collect();
        let mut attached = match pids.is_empty() {
            true => "nobody".into(),
            false => pids.join(", "),
        };
        if named.hidden > 0 {
            let _ = write!(
                attached,
                " ({} processes cannot be looked into)",
                named.hidden
            );
        }
        line("attached", &attached);
        for holder in &self.state.holders {
            let thread = match holder.thread {
                Some(thread) => format!(", thread {thread}"),
                None => String::new(),
            };
            line(
                "held",
                &format!("{} by {}{thread}", holder.what, who(holder)),
            );
        }
        match self.state.waiting {
            Waiting::Unknown => {}
            Waiting::Exactly(n) => line("waiting", &n.to_string()),
            Waiting::AtLeast(n) => line("waiting", &format!("{n} or more")),
        }
        if !self.state.summary.is_empty() {
            line("state", &printable(&self.state.summary));
        }
        for (name, value) in &self.state.facts {
            let value = match value {
                Json::Text(text) => printable(text),
                Json::Null => "-".into(),
                other => other.to_string(),
            };
            line(&name.replace('_', " "), &value);
        }
        lines
    }

    /// In full, for a program.
    pub(crate) fn json(&self) -> Json {
        let named = &self.named;
        let header = named.header();
        let attached = named.attached.iter().map(|a| Json::from(a.pid)).collect();
        let holders = self.state.holders.iter().map(|holder| {
            Json::Object(vec![
                ("what", holder.what.into()),
                ("pid", number_or_null(holder.pid)),
                ("thread", holder.thread.map_or(Json::Null, Json::from)),
                ("alive", holder.alive.into()),
            ])
        });
        let (waiting, exactly) = match self.state.waiting {
            Waiting::Unknown => (Json::Null, Json::Null),
            Waiting::Exactly(n) => (n.into(), true.into()),
            Waiting::AtLeast(n) => (n.into(), false.into()),
        };
        let kind = header.map_or(Json::Null, |header| header.kind.tag.clone().into());
        let problem = match &named.content {
            Content::NotAnObject(why) => why.to_string().into(),
            Content::Unreadable(why) => why.to_string().into(),
            _ => Json::Null,
        };
        Json::Object(vec![
            ("name", named.name.clone().into()),
            ("kind", kind),
            ("problem", problem),
            ("temporary", named.temporary.into()),
            ("stale", named.stale.into()),
            ("bytes", named.bytes.into()),
            ("body", header.map_or(Json::Null, |h| h.body.into())),
            ("memory", named.memory.into()),
            ("mode", format!("{:04o}", named.mode).into()),
            ("owner", named.owner.into()),
            ("group", named.group.into()),
            ("attached", Json::List(attached)),
            ("hidden_processes", named.hidden.into()),
            ("holders", Json::List(holders.collect())),
            ("waiting", waiting),
            ("waiting_exactly", exactly),
            ("summary", self.state.summary.clone().into()),
            ("state", Json::Object(self.state.facts.clone())),
        ])
    }
}

fn number_or_null(pid: u32) -> Json {
    match pid {
        0 => Json::Null,
        pid => pid.into(),
    }
}

fn bytes(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        _ => format!("{bytes} bytes ({})", text::size(bytes)),
    }
}

fn who(holder: &Holding) -> String {
    match (holder.pid, holder.alive) {
        (0, true) => "?".into(),
        (0, false) => "(dead)".into(),
        (pid, true) => pid.to_string(),
        (pid, false) => format!("{pid} (dead)"),
    }
}

/// `ls` for a person.
pub(crate) fn table(objects: &[Object]) -> String {
    let rows: Vec<_> = objects
        .iter()
        .map(|object| {
            let named = &object.named;
            [
                cut(&printable(&named.name), 40),
                cut(&object.kind(), 36),
                text::size(named.bytes),
                text::size(named.memory),
                format!("{:04o}", named.mode),
                format!("{}:{}", named.owner, named.group),
                object.attached(),
                object.holders(),
                object.waiting(),
                object.summary(),
            ]
        })
        .collect();
    let heads = [
        "NAME", "KIND", "SIZE", "MEMORY", "MODE", "OWNER", "ATTACHED", "HELD BY", "WAITING",
        "STATE",
    ];
    let right = [
        false, false, true, true, false, false, true, false, true, false,
    ];
    text::columns(heads, right, &rows)
}
