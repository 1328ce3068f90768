// Types for app.ts from a live server's introspection: URL and TOKEN come in by the environment.
export default {
  schema: [{ [process.env.URL]: { headers: { authorization: `Bearer ${process.env.TOKEN}` } } }],
  documents: ["app.ts"],
  generates: {
    "./generated/": {
      preset: "client",
      presetConfig: { fragmentMasking: false },
      config: { scalars: { Decimal: "string", DateTime: "string", Date: "string", JSON: "unknown" }, strictScalars: true, useTypeImports: true },
    },
  },
};
