//! Writing an edited configuration back: the file's text with what was changed, and all else as it stands there.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    cli::OutputFormat,
    edit::{GROUPS, name_of, objects},
    emit,
    findings::Profile,
    parts::{ConfigParts, PartOrigin},
    report::Report,
    schema::{Object, Shape, root},
    source::{self, ConfigSource, Content},
    value::{Member, Value, same_key},
};

/// A file that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRewrite {
    /// Where.
    pub path: PathBuf,
    /// What it held when it was read.
    pub before: Arc<[u8]>,
    /// What it is to hold.
    pub after: String,
    /// Whether comments are lost, since the file could not be changed in place.
    pub loses_comments: bool,
}

/// An edited configuration cannot be written back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    /// Something was changed that comes from no file.
    #[error(
        "changes of what comes from {0} cannot be saved: only files are written; GET /config?format=yaml has all of it as one file"
    )]
    Elsewhere(String),
    /// The file is of a format that is only read.
    #[error("{} cannot be written: rtun writes YAML and JSON; GET /config?format=yaml has all of it as one file", .0.display())]
    Format(PathBuf),
}

impl ConfigParts {
    /// The files that differ from what was edited, with their new texts.
    ///
    /// # Errors
    ///
    /// Something that was edited has no file that rtun can write.
    pub fn rewrites(&self) -> Result<Vec<FileRewrite>, RewriteError> {
        let edited = self.parts.iter().filter(|part| part.is_edited);
        edited
            .map(|part| match &part.origin {
                PartOrigin::Elsewhere(name) => Err(RewriteError::Elsewhere(name.clone())),
                PartOrigin::File { path, text } => rewrite(path, text, &part.value),
            })
            .collect()
    }

    /// These files now hold this.
    pub fn saved(&mut self, rewrites: &[FileRewrite]) {
        for FileRewrite { path, after, .. } in rewrites {
            let report = Report::of_texts(Profile::Compat, self.texts.clone());
            let content = content(after.as_bytes());
            let Some(value) = source::parse(&ConfigSource::File(path.clone()), &content, &report)
            else {
                continue;
            };
            self.texts = report.texts();
            for part in &mut self.parts {
                if part.path() == Some(path) && part.is_edited {
                    part.origin =
                        PartOrigin::File { path: path.clone(), text: after.as_bytes().into() };
                    part.value = value.clone();
                    part.is_edited = false;
                }
            }
        }
        self.forget_texts();
    }
}

fn content(bytes: &[u8]) -> Content {
    Content { bytes: bytes.to_vec(), content_type: None }
}

fn rewrite(path: &Path, before: &Arc<[u8]>, value: &Value) -> Result<FileRewrite, RewriteError> {
    let extension = path.extension().map(|it| it.to_string_lossy().to_ascii_lowercase());
    let new = |after, loses_comments| FileRewrite {
        path: path.to_owned(),
        before: Arc::clone(before),
        after,
        loses_comments,
    };
    match extension.as_deref() {
        Some("json") => Ok(new(emit::emit(value, OutputFormat::Json), false)),
        Some("yaml" | "yml") => {
            let text = std::str::from_utf8(before).ok();
            let report = Report::new(Profile::Compat);
            let old =
                source::parse(&ConfigSource::File(path.to_owned()), &content(before), &report);
            let in_place = text.zip(old).and_then(|(text, old)| in_place(text, &old, value));
            let whole = || emit::emit(value, OutputFormat::Yaml);
            let after = in_place.filter(|after| reads_as(path, after, value));
            Ok(match after {
                Some(after) => new(after, false),
                None => new(whole(), text.is_some_and(|text| text.contains('#'))),
            })
        }
        _ => Err(RewriteError::Format(path.to_owned())),
    }
}

/// Whether the file's new text means what was edited.
fn reads_as(path: &Path, after: &str, value: &Value) -> bool {
    let report = Report::new(Profile::Compat);
    let source = ConfigSource::File(path.to_owned());
    let read = source::parse(&source, &content(after.as_bytes()), &report);
    read.is_some_and(|read| content_of(&read) == content_of(value))
}

/// What a document says, whatever the order of its keys: lists that are empty are as good as absent, and one object stands for a
/// list of itself.
fn content_of(document: &Value) -> String {
    let filled = document.entries().iter().filter(|entry| !entry.value.is_unset());
    let entries = filled.map(|entry| {
        let value = match GROUPS.iter().any(|group| same_key(group, &entry.key)) {
            true => Value::list(entry.value.clone().into_items(), entry.place),
            false => entry.value.clone(),
        };
        Some(Member { value, ..entry.clone() })
    });
    emit::emit(&Value::map(entries, document.place), OutputFormat::Json)
}

/// The YAML `text` of `old` changed to that of `new`, list by list and object by object; `None` where its form does not allow
/// it. The outcome is to be checked: a text may have forms that lines do not show.
fn in_place(text: &str, old: &Value, new: &Value) -> Option<String> {
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    if let Some(last) = lines.last_mut().filter(|last| !last.ends_with('\n')) {
        last.push('\n');
    }
    let mut appended = String::new();
    let mut changed = Vec::new();
    for group in GROUPS {
        let (before, after) = (objects(old, group), objects(new, group));
        let is_same = before.len() == after.len()
            && before.iter().zip(&after).all(|(before, after)| before.same(after));
        if is_same {
            continue;
        }
        match old.entries().iter().find(|entry| same_key(&entry.key, group)) {
            None => {
                appended.push_str(&format!("{group}:\n"));
                let table = table(group)?;
                after.iter().for_each(|object| appended.push_str(&item(object, table, "")));
            }
            Some(member) if member.place.column == 1 => changed.push((line_of(member), group)),
            Some(_) => return None,
        }
    }
    // From the last list to the first, so that the lines of the others stay where they are.
    changed.sort_by_key(|(first, _)| std::cmp::Reverse(*first));
    for (first, group) in changed {
        let next = old.entries().iter().map(line_of).filter(|line| *line > first).min();
        let end = before_comments(&lines, first + 1, next.unwrap_or(lines.len()));
        let block = list_in_place(&lines, first, end, group, old, new)?;
        lines.splice(first..end, block);
    }
    let mut after = lines.concat();
    after.push_str(&appended);
    Some(after)
}

/// From 0.
fn line_of(member: &Member) -> usize {
    (member.place.line as usize).saturating_sub(1)
}

/// `end` without the comments and blank lines before it, which belong to what follows.
fn before_comments(lines: &[String], from: usize, end: usize) -> usize {
    let is_text = |line: &String| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#')
    };
    (from..end.min(lines.len())).rfind(|line| is_text(&lines[*line])).map_or(from, |last| last + 1)
}

/// The lines of the list `group`, which now stands in those from `first` to before `end`.
fn list_in_place(
    lines: &[String],
    first: usize,
    end: usize,
    group: &str,
    old: &Value,
    new: &Value,
) -> Option<Vec<String>> {
    let table = table(group)?;
    let (before, after) = (objects(old, group), objects(new, group));
    if after.is_empty() {
        return Some(Vec::new());
    }
    let starts: Vec<usize> =
        before.iter().map(|object| (object.place.line as usize).saturating_sub(1)).collect();
    let is_item = |line: &usize| {
        *line > first && lines.get(*line).is_some_and(|line| line.trim_start().starts_with("- "))
    };
    if !starts.iter().all(is_item) || !starts.is_sorted_by(|a, b| a < b) || starts.is_empty() {
        return None;
    }
    let indent = |line: usize| &lines[line][..lines[line].len() - lines[line].trim_start().len()];
    let margin = indent(starts[0]);
    if starts.iter().any(|line| indent(*line) != margin) {
        return None;
    }
    // Each with the comments in front of it; the first begins after the key.
    let mut begins = vec![first + 1];
    begins.extend(starts.windows(2).map(|pair| before_comments(lines, pair[0] + 1, pair[1])));
    begins.push(end);
    let mut block = vec![lines[first].clone()];
    for (number, object) in before.iter().enumerate() {
        let (begin, start, end) = (begins[number], starts[number], begins[number + 1]);
        let name = name_of(object);
        match after.iter().find(|it| name_of(it) == name) {
            Some(same) if same.same(object) => block.extend_from_slice(&lines[begin..end]),
            Some(other) => {
                block.extend_from_slice(&lines[begin..start]);
                block.push(item(other, table, margin));
            }
            None => {}
        }
    }
    let is_new = |object: &&&Value| before.iter().all(|old| name_of(old) != name_of(object));
    block.extend(after.iter().filter(is_new).map(|object| item(object, table, margin)));
    Some(block)
}

/// An object as an item of a list, every line after `margin`.
fn item(object: &Value, table: &'static Object, margin: &str) -> String {
    let text = emit::emit_item(object, table);
    text.lines().map(|line| format!("{margin}{line}\n")).collect()
}

fn table(group: &str) -> Option<&'static Object> {
    match root::OBJECT.key(group)?.shape {
        Shape::ObjectList(table) => Some(table),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
