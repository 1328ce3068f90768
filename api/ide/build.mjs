// Builds graphiql.js and graphiql.css from main.js: `make ide`. The two files are committed, so that running needs no Node.js.
import { build } from "esbuild";
import { readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

const result = await build({
  entryPoints: ["main.js"],
  bundle: true,
  minify: true,
  charset: "utf8",
  legalComments: "none",
  metafile: true,
  define: { "process.env.NODE_ENV": '"production"' },
  outfile: "graphiql.js",
});

// The embedded web fonts are nine tenths of the style sheet; the reader's own fonts have the Chinese characters as well.
const style = await readFile("graphiql.css", "utf8");
await writeFile("graphiql.css", style.replace(/@font-face\s*\{[^}]*\}/g, ""));

const packages = new Set();
for (const input of Object.keys(result.metafile.inputs)) {
  const found = input.match(/^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//);
  if (found) packages.add(found[1]);
}
const notices = ["graphiql.js and graphiql.css contain the following packages.\n"];
for (const folder of [...packages].sort()) {
  const about = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
  const file = (await readdir(folder)).find((name) => /^licen[cs]e/i.test(name));
  const licence = file ? await readFile(join(folder, file), "utf8") : `Licence: ${about.license}\n`;
  notices.push(`${"-".repeat(80)}\n${about.name} ${about.version} (${about.license})\n\n${licence.trim()}\n`);
}
await writeFile("LICENSES.txt", notices.join("\n"));
