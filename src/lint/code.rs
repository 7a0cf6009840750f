//! PURE. The kinds of findings: one table, from which codes, severities and titles come. Each has its section in
//! `docs/lint.md`.

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It would be refused, or cannot work.
    Error,
    /// It is legal, and dangerous.
    Warning,
}

impl Severity {
    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

macro_rules! codes {
    ($( $Code:ident = $id:literal, $severity:ident, $title:literal; )+) => {
        /// What kind of finding it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $( #[doc = $title] $Code, )+
        }

        impl Code {
            /// All of them, in the order of their ids.
            pub const ALL: &'static [Code] = &[$( Self::$Code, )+];

            /// Its id, which never changes.
            pub const fn id(self) -> &'static str {
                match self { $( Self::$Code => $id, )+ }
            }

            /// How much it matters.
            pub const fn severity(self) -> Severity {
                match self { $( Self::$Code => Severity::$severity, )+ }
            }

            /// Its heading in the documentation.
            pub const fn title(self) -> &'static str {
                match self { $( Self::$Code => $title, )+ }
            }
        }
    };
}

codes! {
    Unreadable = "CUT001", Error, "A file cannot be read";
    NotYaml = "CUT002", Error, "A file is not YAML";
    Limit = "CUT003", Error, "A file is beyond a limit";
    Nothing = "CUT004", Error, "There is nothing to check";
    NotApplied = "CUT005", Error, "A run is not yours to apply";
    UnknownKind = "CUT006", Error, "A kind or version is not known";
    KeyTwice = "CUT007", Error, "A key is given twice";
    ObjectTwice = "CUT008", Error, "An object is given twice";
    Metadata = "CUT009", Error, "The metadata are wrong";
    UnknownField = "CUT010", Error, "A field is not known";
    Value = "CUT011", Error, "A value is not allowed";
    Rule = "CUT012", Error, "A rule of the definition is broken";
    Policy = "CUT013", Error, "An admission policy refuses the object";
    Refused = "CUT020", Error, "The operator would refuse the Cutover";
    Template = "CUT021", Error, "A template is wrong";
    Missing = "CUT030", Error, "A name leads nowhere";
    Labels = "CUT031", Error, "Pods are not those of their side";
    Selector = "CUT032", Error, "A Service selects neither side";
    Port = "CUT033", Error, "A port does not exist";
    Container = "CUT034", Error, "A container does not exist";
    Key = "CUT035", Error, "A key does not exist";
    Claimed = "CUT036", Error, "A Service belongs to two Cutovers";
    Undo = "CUT101", Warning, "An undo is not tied to what its step did";
    BuiltIn = "CUT102", Warning, "The operator's own triggers are off";
    Unproven = "CUT103", Warning, "Nothing proves which release runs";
    Reach = "CUT104", Warning, "A query looks back over the whole observation";
    Recorded = "CUT105", Warning, "A recorded metric does not say how far it looks back";
    NoTrigger = "CUT106", Warning, "Nothing of your own is watched";
    Keep = "CUT107", Warning, "Connections stay on the side that failed";
    Flux = "CUT108", Warning, "Flux would replace the variables";
    Deadline = "CUT109", Warning, "A Job has no deadline of its own";
    Latest = "CUT110", Warning, "An image is not pinned";
    WayBack = "CUT111", Warning, "The next release would be refused";
    NotText = "CUT112", Warning, "A value of a Job is no text";
    Unchecked = "CUT113", Warning, "A template is not in the input";
    Default = "CUT114", Warning, "Metrics come from a default that is not seen";
    Release = "CUT115", Warning, "The target does not run the release yet";
    Unit = "CUT116", Warning, "A share is compared with a percentage";
}

impl Code {
    /// The code with this id, in capitals or not.
    pub fn of(id: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.id().eq_ignore_ascii_case(id))
    }
}
