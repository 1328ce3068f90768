// Runs what relay-compiler made of app.js against a real server: node run.mjs URL TOKEN, in the folder with __generated__.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const { Environment, Network, RecordSource, Store, commitMutation, fetchQuery } = require("relay-runtime");
const artifact = async (name) => (await import(`./__generated__/${name}.graphql.js`)).default;
const [url, token] = process.argv.slice(2);
const fetchGraphQL = async ({ text: query }, variables) => {
  const headers = { "content-type": "application/json", authorization: `Bearer ${token}`, accept: "application/graphql-response+json" };
  const answer = await fetch(url, { method: "POST", headers, body: JSON.stringify({ query, variables }) });
  assert.equal(answer.status, 200);
  return answer.json();
};
const environment = new Environment({ network: Network.create(fetchGraphQL), store: new Store(new RecordSource()) });
const screen = await fetchQuery(environment, await artifact("appScreenQuery"), {}).toPromise();
assert.ok(screen.viewer.name);
const page = await fetchQuery(environment, await artifact("appListPageQuery"), { count: 5, cursor: null }).toPromise();
assert.ok(page);
const records = environment.getStore().getSource().toJSON();
const account = Object.values(records).find((record) => record.__typename === "Account");
const detail = await fetchQuery(environment, await artifact("appDetailQuery"), { id: account.id }).toPromise();
assert.equal(detail.node.id, account.id);
const input = { clientKey: randomUUID(), relatedToId: account.id, kind: "NOTE", subject: "Relay 记下的备注" };
const mutation = await artifact("appLogMutation");
const logged = await new Promise((resolve, reject) =>
  commitMutation(environment, { mutation, variables: { input }, onCompleted: resolve, onError: reject }),
);
assert.deepEqual(logged.logActivity.errors, []);
assert.equal(logged.logActivity.activity.relatedTo.id, account.id);
console.log(JSON.stringify({ name: "Relay", ok: true }));
