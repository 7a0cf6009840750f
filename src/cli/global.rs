//! The flags that every command has.

use clap::{Args, ValueEnum};

/// Flags of every command.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The namespace; otherwise that of the context.
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// The context of the kubeconfig; otherwise the current one.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The kubeconfig; otherwise KUBECONFIG, ~/.kube/config, or the account of the pod.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<std::path::PathBuf>,
    /// Act as this user.
    #[arg(long = "as", global = true, value_name = "USER")]
    pub as_user: Option<String>,
    /// Act as a member of this group; may be given more than once.
    #[arg(long, global = true, value_name = "GROUP", requires = "as_user")]
    pub as_group: Vec<String>,
    /// How long one request to the API server may take, such as 30s.
    #[arg(long, global = true, value_name = "TIME", default_value = "30s", value_parser = crate::cli::text::time::duration)]
    pub request_timeout: std::time::Duration,
    /// Print for a program: `json`, `yaml`, or `name`.
    #[arg(short, long, global = true, value_enum)]
    pub output: Option<Format>,
    /// When to use colours; NO_COLOR turns them off, too.
    #[arg(long, global = true, value_enum, default_value_t)]
    pub color: When,
}

/// What is printed for a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// JSON, with the documented schema of the command.
    Json,
    /// The same as YAML.
    Yaml,
    /// The names of objects, one a line, as `kubectl -o name` has them.
    Name,
    /// For `release --dry-run`: the kubectl commands.
    #[value(hide = true)]
    Patch,
}

/// When colours are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}
