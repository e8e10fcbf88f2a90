//! What a key is: spellings, shape, status, default and meaning, declared once in a table by `objects!`, and typed
//! access to its value by that declaration.

use std::{marker::PhantomData, ops::Deref, time::Duration};

use crate::{
    coerce::{self, BareUnit},
    report::At,
    value::{Cursor, Data, Value, same_key},
};

/// What a key's value must be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    OneText,
    Flag,
    Int,
    Timespan,
    Period,
    Texts,
    CommaTexts,
    Headers,
    Any,
    In(&'static Object),
    ObjectList(&'static Object),
    /// A flat map, checked by the type of what it belongs to.
    Metadata,
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum KeyStatus {
    /// Read: its default, and what it means.
    Taken(&'static str, &'static str),
    /// Accepted; the text says why it changes nothing.
    NoEffect(&'static str),
    NotYet,
    /// rtun will not; the text says why.
    Refused(&'static str),
    /// Nothing a tunnel does changes without it: a warning; the text says why.
    Harmless(&'static str),
    /// A list whose objects do nothing until something names one, and what names one says what becomes of that.
    ByName,
    /// In the wrong place; the text says what is right.
    Misplaced(&'static str),
    /// Left by a command line where it has no meaning; nothing is said.
    Silent,
}

/// One key, as the check, the output and the documentation see it.
#[derive(Debug)]
pub(crate) struct KeySpec {
    /// The first that is present counts.
    pub(crate) names: &'static [&'static str],
    pub(crate) shape: Shape,
    pub(crate) status: KeyStatus,
}

/// One line of a table.
#[derive(Debug)]
pub(crate) enum Line {
    Keys(&'static [KeySpec]),
    /// All keys of another table.
    Shared(&'static Object),
}

/// The keys of one kind of object.
#[derive(Debug)]
pub(crate) struct Object {
    /// For messages: "a service".
    pub(crate) what: &'static str,
    pub(crate) lines: &'static [Line],
    /// Whether no object has this table but as part of another.
    pub(crate) only_shared: bool,
}

impl Line {
    /// The table whose keys it stands for.
    pub(crate) fn shared(&self) -> Option<&'static Object> {
        match self {
            Self::Keys(_) => None,
            Self::Shared(object) => Some(object),
        }
    }

    pub(crate) fn keys(&self) -> Vec<&'static KeySpec> {
        match self {
            Self::Keys(keys) => keys.iter().collect(),
            Self::Shared(object) => object.keys(),
        }
    }
}

impl Object {
    pub(crate) fn keys(&self) -> Vec<&'static KeySpec> {
        self.lines.iter().flat_map(Line::keys).collect()
    }

    /// Those that are read.
    pub(crate) fn taken(&self) -> Vec<&'static KeySpec> {
        let taken = |key: &&KeySpec| matches!(key.status, KeyStatus::Taken(..));
        self.keys().into_iter().filter(taken).collect()
    }

    pub(crate) fn key(&self, name: &str) -> Option<&'static KeySpec> {
        self.lines.iter().find_map(|line| match line {
            Line::Keys(keys) => keys.iter().find(|key| key.names.iter().any(|n| same_key(n, name))),
            Line::Shared(object) => object.key(name),
        })
    }

    /// The spellings worth suggesting.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        let offered = |key: &&KeySpec| {
            matches!(key.status, KeyStatus::Taken(..) | KeyStatus::NoEffect(_) | KeyStatus::NotYet)
        };
        self.keys().into_iter().filter(offered).flat_map(|key| key.names.iter().copied())
    }
}

/// A key that is read, as a value of shape `S`.
#[derive(Debug)]
pub(crate) struct Field<S> {
    names: &'static [&'static str],
    default: &'static str,
    /// Whether it stands in the `metadata` of its object.
    in_metadata: bool,
    shape: PhantomData<fn() -> S>,
}

impl<S> Field<S> {
    pub(crate) const fn new(
        names: &'static [&'static str],
        default: &'static str,
        in_metadata: bool,
    ) -> Self {
        Self { names, default, in_metadata, shape: PhantomData }
    }

    /// The same key, whatever its shape.
    pub(crate) const fn any(&self) -> Field<Any> {
        Field { names: self.names, default: "", in_metadata: self.in_metadata, shape: PhantomData }
    }

    /// The canonical spelling.
    pub(crate) const fn name(&self) -> &'static str {
        self.names[0]
    }
}

/// How a value of a shape is read. What cannot be read was reported by the check of the document.
pub(crate) trait Readable {
    type Output<'a>: Default;
    fn read<'a>(at: &Cursor<'a>, unit: BareUnit) -> Option<Self::Output<'a>>;
    /// `text` of a table.
    fn default(_text: &str) -> Option<Self::Output<'_>> {
        None
    }
}

/// A text that is not empty.
#[derive(Debug)]
pub(crate) struct OneText;
impl Readable for OneText {
    type Output<'a> = String;
    fn read<'a>(at: &Cursor<'a>, _: BareUnit) -> Option<String> {
        coerce::text(at.value).ok().filter(|text| !text.is_empty())
    }
    fn default(text: &str) -> Option<String> {
        Some(text.to_owned())
    }
}

/// True or false.
#[derive(Debug)]
pub(crate) struct Flag;
impl Readable for Flag {
    type Output<'a> = bool;
    fn read<'a>(at: &Cursor<'a>, _: BareUnit) -> Option<bool> {
        coerce::boolean(at.value).ok()
    }
    fn default(text: &str) -> Option<bool> {
        text.parse().ok()
    }
}

/// A whole number; the default may have a unit after it.
#[derive(Debug)]
pub(crate) struct Int;
impl Readable for Int {
    type Output<'a> = i64;
    fn read<'a>(at: &Cursor<'a>, _: BareUnit) -> Option<i64> {
        coerce::integer(at.value).ok()
    }
    fn default(text: &str) -> Option<i64> {
        text.split(' ').next()?.parse().ok()
    }
}

/// A duration; zero is the same as none.
#[derive(Debug)]
pub(crate) struct Timespan;
impl Readable for Timespan {
    type Output<'a> = Duration;
    fn read<'a>(at: &Cursor<'a>, unit: BareUnit) -> Option<Duration> {
        coerce::span(at.value, unit).ok().map(|(span, _)| span).filter(|span| !span.is_zero())
    }
    fn default(text: &str) -> Option<Duration> {
        let nanos = crate::duration::parse(text).ok()?;
        u64::try_from(nanos).ok().map(Duration::from_nanos)
    }
}

/// A duration; zero and less are the same as none.
#[derive(Debug)]
pub(crate) struct Period;
impl Readable for Period {
    type Output<'a> = Duration;
    fn read<'a>(at: &Cursor<'a>, unit: BareUnit) -> Option<Duration> {
        Timespan::read(at, unit)
    }
    fn default(text: &str) -> Option<Duration> {
        <Timespan as Readable>::default(text)
    }
}

/// A list of texts; a single one stands for itself.
#[derive(Debug)]
pub(crate) struct Texts;
impl Readable for Texts {
    type Output<'a> = Vec<(String, At<'a>)>;
    fn read<'a>(at: &Cursor<'a>, _: BareUnit) -> Option<Self::Output<'a>> {
        Some(texts(at, false))
    }
}

/// The same; commas in a text separate texts.
#[derive(Debug)]
pub(crate) struct CommaTexts;
impl Readable for CommaTexts {
    type Output<'a> = Vec<(String, At<'a>)>;
    fn read<'a>(at: &Cursor<'a>, _: BareUnit) -> Option<Self::Output<'a>> {
        Some(texts(at, true))
    }
}

fn texts<'a>(at: &Cursor<'a>, commas: bool) -> Vec<(String, At<'a>)> {
    let pieces = coerce::texts(at, commas).into_iter();
    pieces.filter_map(|piece| Some((piece.text.ok()?, piece.at))).collect()
}

/// A map of headers, read where they are sent.
#[derive(Debug)]
pub(crate) struct Headers;
/// Anything.
#[derive(Debug)]
pub(crate) struct Any;
/// Another object.
#[derive(Debug)]
pub(crate) struct In;
/// A list of objects; a single one stands for itself.
#[derive(Debug)]
pub(crate) struct ObjectList;

/// The value of a key that is there.
#[derive(Debug)]
pub(crate) struct Setting<'a, S> {
    cursor: Cursor<'a>,
    unit: BareUnit,
    shape: PhantomData<fn() -> S>,
}

impl<'a, S> Deref for Setting<'a, S> {
    type Target = Cursor<'a>;
    fn deref(&self) -> &Cursor<'a> {
        &self.cursor
    }
}

impl<'a, S> Setting<'a, S> {
    /// Its place, whatever it is.
    pub(crate) fn cursor(self) -> Cursor<'a> {
        self.cursor
    }
}

impl<'a, S: Readable> Setting<'a, S> {
    /// `None` if it is empty or cannot be read.
    pub(crate) fn read(&self) -> Option<S::Output<'a>> {
        S::read(&self.cursor, self.unit)
    }
}

impl<'a> Cursor<'a> {
    /// The value of `field` unless absent or null.
    pub(crate) fn get<S>(&self, field: &Field<S>) -> Option<Setting<'a, S>> {
        let (owner, unit) = match field.in_metadata {
            true => (self.child_named("metadata")?, BareUnit::Seconds),
            false => (self.clone(), BareUnit::Nanoseconds),
        };
        let cursor = field.names.iter().find_map(|name| owner.child_named(name))?;
        Some(Setting { cursor, unit, shape: PhantomData })
    }

    /// The value of `field` unless absent, empty, false or 0.
    pub(crate) fn filled<S>(&self, field: &Field<S>) -> Option<Setting<'a, S>> {
        self.get(field).filter(|found| !found.value.is_unset())
    }

    /// What `field` says, and where. That it is absent or empty is reported as `missing`.
    pub(crate) fn required<S: Readable>(
        &self,
        field: &Field<S>,
        missing: &str,
        help: &str,
    ) -> Option<(S::Output<'a>, At<'a>)> {
        let is_empty = |found: &Setting<'_, S>| matches!(&found.value.data, Data::Text(text) if text.is_empty());
        match self.get(field).filter(|found| !is_empty(found)) {
            Some(found) => Some((found.read()?, found.cursor.at)),
            None => self.refuse(missing, help),
        }
    }

    /// The object in `field`; in the place of an absent one, an empty one where `self` stands.
    pub(crate) fn object(&self, field: &Field<In>) -> Cursor<'a> {
        self.get(field).map_or_else(|| self.emptied(), Setting::cursor)
    }

    /// What `field` says, if it says something.
    pub(crate) fn read<S: Readable>(&self, field: &Field<S>) -> Option<S::Output<'a>> {
        self.get(field)?.read()
    }

    /// What `field` says, or its default.
    pub(crate) fn or_default<S: Readable>(&self, field: &Field<S>) -> S::Output<'a> {
        self.read(field).unwrap_or_else(|| field.default())
    }

    /// The number in `field` or, if that is zero or less, its default.
    pub(crate) fn count(&self, field: &Field<Int>) -> u32 {
        let number = self.read(field).filter(|number| *number > 0);
        u32::try_from(number.unwrap_or_else(|| field.default())).unwrap_or(u32::MAX)
    }

    /// The items of a list of objects or texts.
    pub(crate) fn items_of<S>(&self, field: &Field<S>) -> Vec<Cursor<'a>> {
        self.get(field).map(|found| found.items()).unwrap_or_default()
    }

    /// Where the value of `field` stands, or else the whole.
    pub(crate) fn place_of<S>(&self, field: &Field<S>) -> At<'a> {
        self.get(field).map_or_else(|| self.at.clone(), |found| found.at.clone())
    }
}

impl<S: Readable> Field<S> {
    /// The default that its table names.
    pub(crate) fn default<'a>(&self) -> S::Output<'a> {
        let default = S::default(self.default);
        debug_assert!(default.is_some(), "{} is no default of {}", self.default, self.names[0]);
        default.unwrap_or_default()
    }
}

impl KeySpec {
    /// Whether `value` can be read as what this key says; nothing is read by a key without meaning.
    pub(crate) fn accepts(&self, value: &Value) -> bool {
        match (self.status, self.shape) {
            (KeyStatus::Silent, _) => false,
            (_, Shape::Flag) => coerce::boolean(value).is_ok(),
            (_, Shape::Int) => coerce::integer(value).is_ok(),
            (_, Shape::Timespan) => coerce::span(value, BareUnit::Seconds).is_ok(),
            _ => true,
        }
    }
}

/// Declares tables of keys, each as a module with a constant for each key that is read and the whole as `OBJECT`.
///
/// ```text
/// module, "what it is, for messages" {
///     take(NAME: Shape, "key" | "older spelling", "default", "meaning");
///     no_effect("why", Shape: "key", ...);
///     harmless("why", "key", ...);
///     refused("why", "key", ...);
///     not_yet("key", ...);
/// }
/// ```
/// A constant that nobody reads is a warning of the compiler. `in metadata` after the module's name: its keys stand in the
/// `metadata` of an object. `only shared` after the text: no object has this table but as part of another.
macro_rules! objects {
    ($($(#[$doc:meta])* $module:ident $(in $metadata:ident)?, $what:literal $(, only $shared:ident)? { $($status:ident $args:tt;)* })*) => {$(
        $(#[$doc])*
        pub(crate) mod $module {
            #[allow(unused_imports, reason = "not every table uses all shapes")]
            use super::*;
            #[allow(dead_code, reason = "not every table has keys that are read")]
            const IN_METADATA: bool = $crate::schema::field::is_one!($($metadata)?);
            $($crate::schema::field::constant!($status $args);)*
            pub(crate) static OBJECT: $crate::schema::field::Object = $crate::schema::field::Object {
                what: $what,
                lines: &[$($crate::schema::field::line!($status $args)),*],
                only_shared: $crate::schema::field::is_one!($($shared)?),
            };
        }
    )*
        /// All tables here.
        pub(super) static TABLES: &[&$crate::schema::field::Object] = &[$(&$module::OBJECT),*];
    };
}

macro_rules! is_one {
    () => {
        false
    };
    ($one:ident) => {
        true
    };
}

/// The constant of a key that is read.
macro_rules! constant {
    (take($name:ident: $shape:ident $(($object:ident))?, $($key:literal)|+, $default:literal, $meaning:literal)) => {
        pub(crate) const $name: $crate::schema::field::Field<$crate::schema::field::$shape> =
            $crate::schema::field::Field::new(&[$($key),+], $default, IN_METADATA);
    };
    ($status:ident $args:tt) => {};
}

/// The keys of one line of a table.
macro_rules! line {
    (take($name:ident: $shape:ident $(($object:ident))?, $($key:literal)|+, $default:literal, $meaning:literal)) => {
        Line::Keys(&[KeySpec {
            names: &[$($key),+],
            shape: Shape::$shape $((&$object::OBJECT))?,
            status: KeyStatus::Taken($default, $meaning),
        }])
    };
    (metadata()) => {
        Line::Keys(&[KeySpec {
            names: &["metadata"],
            shape: Shape::Metadata,
            status: KeyStatus::Taken("", "[keys by type](configuration-metadata.md)"),
        }])
    };
    (no_effect($why:expr, $shape:ident: $($key:literal),+)) => {
        Line::Keys(&[$(KeySpec { names: &[$key], shape: Shape::$shape, status: KeyStatus::NoEffect($why) }),+])
    };
    (misplaced($right:expr, $($key:literal),+)) => {
        Line::Keys(&[$(KeySpec { names: &[$key], shape: Shape::Any, status: KeyStatus::Misplaced($right) }),+])
    };
    (refused($why:expr, $($key:literal),+)) => {
        Line::Keys(&[$(KeySpec { names: &[$key], shape: Shape::Any, status: KeyStatus::Refused($why) }),+])
    };
    (not_yet($($key:literal),+)) => {
        Line::Keys(&[$(KeySpec { names: &[$key], shape: Shape::Any, status: KeyStatus::NotYet }),+])
    };
    (harmless($why:expr, $($key:literal),+)) => {
        Line::Keys(&[$(KeySpec { names: &[$key], shape: Shape::Any, status: KeyStatus::Harmless($why) }),+])
    };
    (not_yet_list($($key:literal),+)) => {
        Line::Keys(&[$(KeySpec { names: &[$key], shape: Shape::ObjectList(&anything::OBJECT), status: KeyStatus::NotYet }),+])
    };
    (by_name($($key:literal),+)) => {
        Line::Keys(&[$(KeySpec { names: &[$key], shape: Shape::ObjectList(&anything::OBJECT), status: KeyStatus::ByName }),+])
    };
    (silent($($key:literal),+)) => {
        Line::Keys(&[$(KeySpec { names: &[$key], shape: Shape::Any, status: KeyStatus::Silent }),+])
    };
    (shared($object:ident)) => {
        Line::Shared(&$object::OBJECT)
    };
}

pub(crate) use constant;
pub(crate) use is_one;
pub(crate) use line;
pub(crate) use objects;
