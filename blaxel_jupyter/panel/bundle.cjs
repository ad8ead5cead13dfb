// Bundle the panel with esbuild, found through NODE_PATH; build.py runs this with PyPI's Node.

const { deflateRawSync } = require("node:zlib");
const { build, buildSync } = require("esbuild");

const common = { bundle: true, minify: true, target: "es2022", legalComments: "none", charset: "utf8" };

/** The search worker's bundled text, deflated, importable as a base64 string: the panel travels as one file. */
const worker = {
  name: "search-worker",
  setup(plugins) {
    plugins.onResolve({ filter: /^search-worker$/ }, ({ path }) => ({ path, namespace: "worker" }));
    plugins.onLoad({ filter: /./, namespace: "worker" }, () => {
      const options = { ...common, entryPoints: ["src/worker.ts"], format: "iife", write: false };
      const packed = deflateRawSync(buildSync(options).outputFiles[0].contents, { level: 9 });
      return { contents: packed.toString("base64"), loader: "text" };
    });
  },
};

build({
  ...common,
  entryPoints: ["src/panel.ts", "src/task-panel.ts", "src/panel.css"],
  format: "esm",
  outdir: "dist",
  plugins: [worker],
}).catch(() => process.exit(1)); // esbuild has printed why
