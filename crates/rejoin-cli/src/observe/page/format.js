// How numbers, times and foreign texts are written.

const pad = (number, width = 2) => String(number).padStart(width, "0");
const known = (value) => typeof value === "number" && Number.isFinite(value);

export const NOTHING = "–";

// A length of time: three digits that matter and a unit.
export function span(ms) {
  if (!known(ms)) return NOTHING;
  const size = Math.abs(ms);
  if (size < 1) return ms === 0 ? "0 ms" : `${ms.toFixed(2)} ms`;
  if (size < 10) return `${trimmed(ms.toFixed(1))} ms`;
  if (size < 999.5) return `${Math.round(ms)} ms`;
  if (size < 9_995) return `${(ms / 1000).toFixed(2)} s`;
  if (size < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${pad(seconds % 60)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 2880) return `${Math.floor(minutes / 60)} h ${pad(minutes % 60)} min`;
  return `${Math.floor(minutes / 1440)} d ${pad(Math.floor(minutes / 60) % 24)} h`;
}

// Whole seconds, for what counts up or down on the screen.
export const seconds = (ms) => (known(ms) ? (ms < 59_500 ? `${Math.max(0, Math.round(ms / 1000))} s` : span(ms)) : NOTHING);

export function count(value) {
  if (!known(value)) return NOTHING;
  return Math.round(value).toLocaleString("en-US");
}

// A number for an axis: short, never in scientific notation below a thousand million.
export function short(value) {
  if (!known(value)) return "";
  const size = Math.abs(value);
  if (size >= 1e9) return `${trimmed((value / 1e9).toFixed(1))}G`;
  if (size >= 1e6) return `${trimmed((value / 1e6).toFixed(1))}M`;
  if (size >= 1e4) return `${trimmed((value / 1e3).toFixed(1))}k`;
  return size >= 10 || Number.isInteger(value) ? String(Math.round(value)) : trimmed(value.toFixed(2));
}

// The same for milliseconds.
export function shortSpan(ms) {
  if (!known(ms)) return "";
  if (ms === 0) return "0";
  if (ms < 1000) return `${trimmed(ms < 1 ? ms.toFixed(2) : ms.toFixed(1))}ms`;
  if (ms < 120_000) return `${trimmed((ms / 1000).toFixed(1))}s`;
  if (ms < 7_200_000) return `${trimmed((ms / 60_000).toFixed(1))}min`;
  return `${trimmed((ms / 3_600_000).toFixed(1))}h`;
}

export function rate(value) {
  if (!known(value)) return NOTHING;
  return `${value >= 100 ? Math.round(value).toLocaleString("en-US") : value.toFixed(1)}/s`;
}

export function bytes(value) {
  if (!known(value)) return NOTHING;
  if (value < 1024) return `${Math.round(value)} B`;
  if (value < 1024 * 1024) return `${trimmed((value / 1024).toFixed(1))} KiB`;
  return `${trimmed((value / 1024 / 1024).toFixed(1))} MiB`;
}

// A value of a baseline or an alert in the unit the program gives with it.
export function measured(value, unit) {
  if (!known(value)) return NOTHING;
  if (unit === "s") return span(value * 1000);
  if (unit === "ms") return span(value);
  const digits = Math.abs(value) >= 100 || Number.isInteger(value) ? String(Math.round(value)) : trimmed(value.toFixed(2));
  return unit === "1/h" ? `${digits}/h` : unit ? `${digits} ${unit}` : digits;
}

// "ping_round_trip" for people.
export const words = (name) => String(name ?? "").replaceAll(/[_-]+/g, " ");

// A place on the time axis, by the run's own clock or by the one on the wall.
// With the day where that is not the one of `now`, by the clock on the wall; `coarse` has no room for seconds beside it.
export function moment(ms, startedUnixMs, ofDay, { tenths = false, now = null, coarse = false } = {}) {
  if (!known(ms)) return NOTHING;
  if (ofDay && known(startedUnixMs)) {
    const date = new Date(startedUnixMs + ms);
    const other = now !== null && new Date(now).toDateString() !== date.toDateString();
    const day = other ? `${pad(date.getMonth() + 1)}-${pad(date.getDate())} ` : "";
    const minutes = `${day}${pad(date.getHours())}:${pad(date.getMinutes())}`;
    if (other && coarse) return minutes;
    const whole = `${minutes}:${pad(date.getSeconds())}`;
    return tenths ? `${whole}.${Math.floor(date.getMilliseconds() / 100)}` : whole;
  }
  const total = Math.max(0, tenths ? Math.floor(ms / 100) / 10 : Math.round(ms / 1000));
  const [hours, minutes, rest] = [Math.floor(total / 3600), Math.floor(total / 60) % 60, total % 60];
  const tail = tenths ? rest.toFixed(1).padStart(4, "0") : pad(rest);
  return hours > 0 ? `${hours}:${pad(minutes)}:${tail}` : `${minutes}:${tail}`;
}

// Texts from a broker may hold anything. They are only ever inserted as text; what would hide or turn around the text
// beside it is shown by its number instead.
export function harmless(text) {
  return String(text ?? "").replaceAll(
    /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ufeff]/g,
    (character) => `\\u{${character.codePointAt(0).toString(16)}}`,
  );
}

function trimmed(digits) {
  return digits.includes(".") ? digits.replace(/\.?0+$/, "") : digits;
}
