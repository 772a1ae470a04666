//! The files of the live page, in the program itself: it is one binary, and the page may load nothing from elsewhere.

/// One file of the page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageFile {
    /// Its name below `/assets/`; the page itself, `index.html`, is what `/` answers with.
    pub(crate) name: &'static str,
    /// For the header `Content-Type`.
    pub(crate) content_type: &'static str,
    pub(crate) body: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! file {
    ($name:literal, $content_type:expr, $path:literal) => {
        PageFile { name: $name, content_type: $content_type, body: include_bytes!($path) }
    };
    ($name:literal, $content_type:expr) => {
        file!($name, $content_type, $name)
    };
}

/// All of them.
pub(crate) const FILES: [PageFile; 19] = [
    file!("index.html", HTML),
    file!("page.css", CSS),
    file!("charts.css", CSS),
    file!("icon.svg", SVG),
    file!("page.js", SCRIPT),
    file!("charts.js", SCRIPT),
    file!("controls.js", SCRIPT),
    file!("dom.js", SCRIPT),
    file!("feed.js", SCRIPT),
    file!("format.js", SCRIPT),
    file!("keys.js", SCRIPT),
    file!("lanes.js", SCRIPT),
    file!("lists.js", SCRIPT),
    file!("picture.js", SCRIPT),
    file!("recovery.js", SCRIPT),
    file!("run.js", SCRIPT),
    file!("timeline.js", SCRIPT),
    file!("uPlot.iife.min.js", SCRIPT, "uplot/uPlot.iife.min.js"),
    file!("uPlot.min.css", CSS, "uplot/uPlot.min.css"),
];
