// Bundle what pages need, a script and a style each: report, and dashboard, the live one. Usage: node build.mjs [DIRECTORY]
import { build } from "esbuild";

const target = process.argv[2] ?? "../testbed/data";
// The notice that uPlot's licence asks for; its own is no comment that a bundler keeps.
const notice = "/*! Includes uPlot: Copyright (c) Leon Sorokin, MIT licence. */";

await build({
  absWorkingDir: import.meta.dirname,
  entryPoints: { report: "src/main.ts", dashboard: "src/live/main.ts" },
  outdir: target,
  bundle: true,
  minify: true,
  charset: "utf8",
  format: "iife",
  target: ["chrome100", "firefox113", "safari16.4"],
  banner: { js: notice, css: notice },
  logLevel: "warning",
});
