//! Drivers that are no Rust: three short programs, built where their compiler and their library are installed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Where Debian puts Go packages; they are found by path, not by module.
const GOPATH: &str = "/usr/share/gocode";
const GO_SOURCE: &str = "/usr/share/gocode/src/github.com/eclipse/paho.mqtt.golang";

pub(crate) fn build(driver: &str) -> Result<PathBuf, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = here.join("target/foreign");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let program = folder.join(driver);
    let sources = here.join("foreign");
    let mut command = match driver {
        "libmosquitto" => {
            needs("cc", "/usr/include/mosquitto.h", "gcc libmosquitto-dev")?;
            let mut command = Command::new("cc");
            command.args(["-O2", "-o"]).arg(&program).args(["mosquitto.c", "-lmosquitto", "-lpthread"]);
            command
        }
        "paho-c" => {
            needs("cc", "/usr/include/MQTTAsync.h", "gcc libpaho-mqtt-dev")?;
            let mut command = Command::new("cc");
            command.args(["-O2", "-o"]).arg(&program).args(["paho.c", "-lpaho-mqtt3a", "-lpthread"]);
            command
        }
        "paho-go" => {
            needs("go", GO_SOURCE, "golang-go golang-github-eclipse-paho.mqtt.golang-dev")?;
            let mut command = Command::new("go");
            command.args(["build", "-o"]).arg(&program).arg("./paho-go");
            command.env("GOPATH", GOPATH).env("GO111MODULE", "off");
            command
        }
        other => return Err(format!("`{other}` has no sources here")),
    };
    let output = command.current_dir(sources).output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(program),
        false => Err(String::from_utf8_lossy(&output.stderr).lines().take(3).collect::<Vec<_>>().join("; ")),
    }
}

fn needs(compiler: &str, library: &str, packages: &str) -> Result<(), String> {
    let found =
        env::split_paths(&env::var_os("PATH").unwrap_or_default()).any(|dir| dir.join(compiler).is_file());
    match found && Path::new(library).exists() {
        true => Ok(()),
        false => Err(format!("apt-get install {packages}")),
    }
}
