// PostGraphile 5 as it is set up for speed: amber preset, both kinds of collections, no GraphiQL. Env: PORT, DATABASE_URL.
import { createServer } from "node:http";
import { makePgService } from "postgraphile/adaptors/pg";
import { postgraphile } from "postgraphile";
import { grafserv } from "postgraphile/grafserv/node";
import { PostGraphileAmberPreset } from "postgraphile/presets/amber";
import { makeV4Preset } from "postgraphile/presets/v4";

const preset = {
  extends: [
    PostGraphileAmberPreset,
    makeV4Preset({ simpleCollections: "both", graphiql: false, disableDefaultMutations: false, dynamicJson: true }),
  ],
  pgServices: [makePgService({ connectionString: process.env.DATABASE_URL, schemas: ["public"], max: 10 })],
  grafserv: { graphqlPath: "/graphql", graphiql: false, watch: false },
  grafast: { explain: false },
};
const server = createServer();
server.keepAliveTimeout = 60000;
server.on("error", (error) => {
  console.error(error);
  process.exit(1);
});
postgraphile(preset).createServ(grafserv).addTo(server);
server.listen(Number(process.env.PORT), "127.0.0.1", () => console.log("ready"));
