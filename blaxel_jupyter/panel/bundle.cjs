// Bundle the panel with esbuild, found through NODE_PATH; build.py runs this with PyPI's Node.

const { mkdirSync, writeFileSync } = require("node:fs");
const { basename } = require("node:path");
const { deflateRawSync } = require("node:zlib");
const { build, buildSync } = require("esbuild");

const common = {
  bundle: true,
  minify: true,
  target: "es2022",
  legalComments: "none",
  charset: "utf8",
};

/** The search worker's bundled text, importable as a string: the panel travels as one file. */
const worker = {
  name: "search-worker",
  setup(plugins) {
    plugins.onResolve({ filter: /^search-worker$/ }, ({ path }) => ({ path, namespace: "worker" }));
    plugins.onLoad({ filter: /./, namespace: "worker" }, () => {
      const options = { ...common, entryPoints: ["src/worker.ts"], format: "iife", write: false };
      return { contents: buildSync(options).outputFiles[0].text, loader: "text" };
    });
  },
};

/** A module that unpacks another one and stands for it: a third of the bytes travel with every panel. */
function packed(module) {
  const data = deflateRawSync(module, { level: 9 }).toString("base64");
  return `const packed = Uint8Array.from(atob("${data}"), (c) => c.charCodeAt(0));
const text = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
const module = new Blob([await new Response(text).blob()], { type: "text/javascript" });
const url = URL.createObjectURL(module);
const { default: panel } = await import(url);
URL.revokeObjectURL(url);
export default panel;
`;
}

async function bundled() {
  const { outputFiles } = await build({
    ...common,
    entryPoints: ["src/panel.ts", "src/task-panel.ts", "src/panel.css"],
    format: "esm",
    outdir: "dist",
    write: false,
    plugins: [worker],
  });
  mkdirSync("dist", { recursive: true });
  for (const { path, contents } of outputFiles) {
    const written = path.endsWith(".js") ? packed(contents) : contents;
    writeFileSync(path, written);
    console.log(`${basename(path)}: ${contents.length} bytes minified, ${written.length} travel`);
  }
}

bundled().catch((error) => {
  if (!error.errors) console.error(error); // else esbuild has printed why
  process.exit(1);
});
