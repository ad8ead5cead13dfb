// Bundle the panel with esbuild, found through NODE_PATH; build.py runs this with PyPI's Node.

const { build, buildSync } = require("esbuild");

const common = {
  bundle: true,
  minify: true,
  target: "es2022",
  legalComments: "none",
  charset: "utf8",
};

/** The search worker's bundled text, importable as a string: a panel's part travels as one file. */
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

async function bundled() {
  const { metafile } = await build({
    ...common,
    entryPoints: ["src/panel.ts", "src/task-panel.ts", "src/later.ts", "src/panel.css"],
    format: "esm",
    outdir: "dist",
    metafile: true,
    plugins: [worker],
  });
  for (const [path, { bytes }] of Object.entries(metafile.outputs)) {
    console.log(`${path}: ${bytes} bytes minified`);
  }
}

bundled().catch((error) => {
  if (!error.errors) console.error(error); // else esbuild has printed why
  process.exit(1);
});
