// Works with a real server as the clients of the field do: node check.mjs URL TOKEN. One JSON line a check; status 1 when one fails.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { ApolloClient, ApolloLink, CombinedGraphQLErrors, HttpLink, InMemoryCache, ServerError, gql } from "@apollo/client";
import { relayStylePagination } from "@apollo/client/utilities";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { Client as Urql, cacheExchange, fetchExchange, subscriptionExchange } from "@urql/core";
import { createClient } from "graphql-ws";
import WebSocket from "ws";

const [url, token] = process.argv.slice(2);
const headers = { authorization: `Bearer ${token}`, "accept-language": "zh-CN" };
const checks = [];
const check = (name, run) => checks.push({ name, run });
const open = (authorization, more = {}) =>
  createClient({ url: url.replace("http", "ws"), webSocketImpl: WebSocket, connectionParams: { authorization }, retryAttempts: 0, ...more });

const LIST = gql`
  query List($first: Int!, $after: String) {
    accounts(first: $first, after: $after) {
      edges { cursor node { id __typename name version owner { id name } } }
      pageInfo { hasNextPage endCursor }
    }
  }
`;
const RENAME = gql`
  mutation Rename($input: UpdateAccountInput!) {
    updateAccount(input: $input) { account { id name version } errors { path code message } }
  }
`;
const LOG = gql`
  mutation Log($input: LogActivityInput!) {
    logActivity(input: $input) { activity { id subject } errors { path code message } }
  }
`;

const apollo = (auth = headers) =>
  new ApolloClient({
    link: new HttpLink({ uri: url, headers: auth }),
    cache: new InMemoryCache({ typePolicies: { Query: { fields: { accounts: relayStylePagination() } } } }),
  });

check("Apollo pages through a connection into one list", async () => {
  const client = apollo();
  let { data } = await client.query({ query: LIST, variables: { first: 3 } });
  const seen = [...data.accounts.edges.map((edge) => edge.node.id)];
  while (data.accounts.pageInfo.hasNextPage) {
    ({ data } = await client.query({ query: LIST, variables: { first: 3, after: data.accounts.pageInfo.endCursor }, fetchPolicy: "network-only" }));
    seen.push(...data.accounts.edges.map((edge) => edge.node.id).filter((id) => !seen.includes(id)));
  }
  const merged = client.cache.readQuery({ query: LIST, variables: { first: 3 } });
  assert.equal(new Set(seen).size, seen.length);
  assert.equal(merged.accounts.edges.length, seen.length);
  assert.ok(seen.length > 3);
});

check("Apollo's cache takes in what a mutation changed, and a stale edit comes back as data", async () => {
  const client = apollo();
  const { data } = await client.query({ query: LIST, variables: { first: 1 } });
  const { id, name, version } = data.accounts.edges[0].node;
  const renamed = await client.mutate({ mutation: RENAME, variables: { input: { id, expectedVersion: version, name: `${name}（改）` } } });
  assert.deepEqual(renamed.data.updateAccount.errors, []);
  const cached = client.cache.readQuery({ query: LIST, variables: { first: 1 } }).accounts.edges[0].node;
  assert.equal(cached.name, `${name}（改）`);
  assert.equal(cached.version, version + 1);
  const stale = await client.mutate({ mutation: RENAME, variables: { input: { id, expectedVersion: version, name } } });
  assert.equal(stale.data.updateAccount.account, null);
  assert.equal(stale.data.updateAccount.errors[0].code, "STALE_VERSION");
  assert.match(stale.data.updateAccount.errors[0].message, /[一-鿿]/u);
  const back = await client.mutate({ mutation: RENAME, variables: { input: { id, expectedVersion: version + 1, name } } });
  assert.equal(back.data.updateAccount.account.name, name);
});

check("Apollo sees an unsigned caller as UNAUTHENTICATED", async () => {
  await assert.rejects(apollo({}).query({ query: LIST, variables: { first: 1 } }), (error) => {
    const codes = CombinedGraphQLErrors.is(error) ? error.errors.map((one) => one.extensions.code) : [];
    return codes.includes("UNAUTHENTICATED") || (ServerError.is(error) && error.statusCode === 401);
  });
});

check("Apollo hears sections over a socket, last the finished answer", async () => {
  const list = await apollo().query({ query: LIST, variables: { first: 1 } });
  const socket = open(headers.authorization);
  const client = new ApolloClient({ link: ApolloLink.from([new GraphQLWsLink(socket)]), cache: new InMemoryCache() });
  const query = gql`
    subscription Stream($input: DraftGenerationInput!) {
      generationStream(input: $input) { section { key heading } generation { id disposition text } }
    }
  `;
  const input = { kind: "VISIT_BRIEF", subjectId: list.data.accounts.edges[0].node.id, clientKey: randomUUID() };
  const chunks = [];
  await new Promise((resolve, reject) =>
    client.subscribe({ query, variables: { input } }).subscribe({ next: (chunk) => (chunk.error ? reject(chunk.error) : chunks.push(chunk.data.generationStream)), error: reject, complete: resolve }),
  );
  await socket.dispose();
  assert.equal(chunks.filter((chunk) => chunk.section).length, 13);
  assert.equal(chunks.at(-1).generation.disposition, "AUTO_RELEASED");
  assert.ok(chunks.at(-1).generation.text.length > 200);
});

check("urql reads, writes and reads again", async () => {
  const client = new Urql({ url, exchanges: [cacheExchange, fetchExchange], fetchOptions: { headers }, preferGetMethod: false });
  const { data, error } = await client.query(LIST, { first: 2 }).toPromise();
  assert.equal(error, undefined);
  const input = { clientKey: randomUUID(), relatedToId: data.accounts.edges[0].node.id, kind: "CALL", subject: "urql 打来的电话" };
  const logged = await client.mutation(LOG, { input }).toPromise();
  assert.equal(logged.error, undefined);
  assert.equal(logged.data.logActivity.activity.subject, input.subject);
  const again = await client.mutation(LOG, { input }).toPromise();
  assert.equal(again.data.logActivity.activity.id, logged.data.logActivity.activity.id);
});

check("urql subscribes over graphql-ws", async () => {
  const socket = open(headers.authorization);
  const forward = (operation) => ({ subscribe: (sink) => ({ unsubscribe: socket.subscribe(operation, sink) }) });
  const client = new Urql({ url, exchanges: [subscriptionExchange({ forwardSubscription: forward })] });
  const got = await new Promise((resolve) => {
    const { unsubscribe } = client.subscription("subscription($input: DraftGenerationInput!) { generationStream(input: $input) { section { key } } }", {
      input: { kind: "VISIT_BRIEF", subjectId: "no such id", clientKey: randomUUID() },
    }).subscribe((result) => { resolve(result); setTimeout(() => unsubscribe(), 0); });
  });
  await socket.dispose();
  assert.equal(got.error.graphQLErrors[0].extensions.code, "NOT_FOUND");
});

check("graphql-ws runs several operations on one socket", async () => {
  const socket = open(headers.authorization);
  const ask = (query) => new Promise((resolve, reject) => { let last; socket.subscribe({ query }, { next: (value) => (last = value), error: reject, complete: () => resolve(last) }); });
  const answers = await Promise.all(["{ viewer { name } }", "{ accounts(first: 1) { totalCount } }", "{ nothing }"].map((query) => ask(query).catch((errors) => ({ errors }))));
  await socket.dispose();
  assert.ok(answers[0].data.viewer.name);
  assert.ok(answers[1].data.accounts.totalCount > 0);
  assert.equal(answers[2].errors[0].extensions.code, "INVALID");
});

check("graphql-ws is turned away with a bad token", async () => {
  const closed = new Promise((resolve) => {
    const socket = open("Bearer nonsense", { lazy: false, onNonLazyError: () => {}, on: { closed: (event) => resolve(event.code) } });
    void socket;
  });
  assert.ok([4401, 4403].includes(await closed));
});

let failed = 0;
for (const { name, run } of checks) {
  try {
    await run();
    console.log(JSON.stringify({ name, ok: true }));
  } catch (error) {
    failed += 1;
    console.log(JSON.stringify({ name, ok: false, error: String(error?.stack ?? error).slice(0, 2000) }));
  }
}
process.exit(failed ? 1 : 0);
