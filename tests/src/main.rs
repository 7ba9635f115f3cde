//! `cargo cluster`: a Kubernetes cluster for people. See the crate's documentation.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Parser;
use mcp_system_tests::cluster::{Cluster, Daemon, Image, Stage};
use mcp_system_tests::databases;

/// A real Kubernetes cluster in a network namespace of this machine.
#[derive(Debug, Parser)]
#[command(name = "cargo cluster", bin_name = "cargo cluster")]
enum Action {
    /// Start it, or bring it further up
    Up {
        /// How far
        #[arg(long, value_enum, default_value_t = Stage::All)]
        until: Stage,
        /// Also the Prometheus Operator and a Prometheus
        #[arg(long)]
        with_prometheus: bool,
    },
    /// End it; nothing stays behind but logs
    Down,
    /// What runs, and where to look
    Status,
    /// Build and install every part, start nothing
    Parts {
        /// Only these
        which: Option<Parts>,
    },
    /// kubectl as the administrator
    Kubectl(Arguments),
    /// Helm as the administrator
    Helm(Arguments),
    /// Any command inside the cluster's network, with KUBECONFIG set
    Run {
        command: String,
        #[command(flatten)]
        arguments: Arguments,
    },
    /// Give an image archive to the node
    Load { archive: PathBuf },
    /// Make an image archive of static programs, each in /bin; the first is what it runs
    Image { name: String, archive: PathBuf, programs: Vec<PathBuf> },
    /// What names it to tests of another process, as commands of a shell
    Environment,
    /// Empty the volumes whose claims are gone and offer them anew
    Reclaim,
}

/// A group of parts.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Parts {
    /// What a cluster is made of
    Cluster,
    /// PostgreSQL, PgBouncer, Weaviate and Redis
    Databases,
}

/// Handed on as they are.
#[derive(Debug, clap::Args)]
struct Arguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

fn main() -> ExitCode {
    match act(Action::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(action: Action) -> Result<ExitCode> {
    match action {
        Action::Up { until, with_prometheus } => up(until, with_prometheus)?,
        Action::Down => Cluster::down()?,
        Action::Status => return status(),
        Action::Parts { which } => parts(which)?,
        Action::Kubectl(arguments) => return run(Cluster::running()?.kubectl_command()?, &arguments),
        Action::Helm(arguments) => return run(Cluster::running()?.helm_command()?, &arguments),
        Action::Run { command, arguments } => return run(Cluster::running()?.client(&command)?, &arguments),
        Action::Load { archive } => Cluster::running()?.load_image(&archive)?,
        Action::Image { name, archive, programs } => Image::of_programs(&name, &programs)?.write(&archive)?,
        Action::Environment => print!("{}", Cluster::running()?.environment()?),
        Action::Reclaim => println!("{} volumes reclaimed", Cluster::running()?.reclaim_volumes()?),
    }
    Ok(ExitCode::SUCCESS)
}

fn up(until: Stage, with_prometheus: bool) -> Result<()> {
    let cluster = Cluster::up(until)?;
    if with_prometheus {
        println!("Prometheus: {}", cluster.install_prometheus()?);
    }
    println!("up; try `cargo cluster status` and `cargo cluster kubectl -- get pods --all-namespaces`");
    Ok(())
}

fn parts(which: Option<Parts>) -> Result<()> {
    if !matches!(which, Some(Parts::Cluster)) {
        databases::install()?;
    }
    if !matches!(which, Some(Parts::Databases)) {
        Cluster::build_parts()?;
    }
    Ok(())
}

fn status() -> Result<ExitCode> {
    for (tool, built, folder) in Cluster::report_parts()? {
        println!("{tool:24} {} {}", if built { "built    " } else { "not built" }, folder.display());
    }
    println!();
    for daemon in Daemon::ALL {
        let state = daemon.pid().map_or("stopped".to_owned(), |pid| format!("process {pid}"));
        println!("{:24} {state}", daemon.name());
    }
    println!("\nlogs: {}", Cluster::logs().display());
    let Ok(cluster) = Cluster::running() else {
        println!("no cluster is up");
        return Ok(ExitCode::FAILURE);
    };
    println!("kubeconfig (inside its network): {}\n", cluster.kubeconfig().display());
    print!("{}", cluster.kubectl(&["get", "nodes,pods", "--all-namespaces"])?);
    Ok(ExitCode::SUCCESS)
}

/// Runs a command on this terminal and ends as it does.
fn run(mut command: Command, arguments: &Arguments) -> Result<ExitCode> {
    let status = command.args(&arguments.arguments).status().context("cannot run nsenter")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
