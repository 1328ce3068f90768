// The audits of GraphQL over HTTP that graphql-http ships: node audits.mjs URL TOKEN. One JSON line an audit.
import { serverAudits } from "graphql-http";

const [url, token] = process.argv.slice(2);
const signed = (input, init = {}) => fetch(input, { ...init, headers: { ...(token && { authorization: `Bearer ${token}` }), ...init.headers } });
for (const audit of serverAudits({ url, fetchFn: signed })) {
  const result = await audit.fn();
  console.log(JSON.stringify({ id: audit.id, name: audit.name, status: result.status, reason: result.reason ?? null }));
}
