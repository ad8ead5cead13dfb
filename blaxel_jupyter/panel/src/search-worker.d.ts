// The bundled text of worker.ts, put in by the build.
declare module "search-worker" {
  const source: string;
  export default source;
}
