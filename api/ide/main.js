// What the page runs: GraphiQL over POST, subscriptions over graphql-transport-ws, the token from the headers' pane.
import { createGraphiQLFetcher } from "@graphiql/toolkit";
import { GraphiQL } from "graphiql";
import { createElement } from "react";
import { createRoot } from "react-dom/client";
import "graphiql/graphiql.css";

const url = new URL(window.location.pathname, window.location.href);
const subscriptionUrl = new URL(url);
subscriptionUrl.protocol = url.protocol === "https:" ? "wss:" : "ws:";

// Until a token is pasted the prepared header is empty, which is no header at all.
function fetchSignedIn(address, { headers, ...options }) {
  const named = Object.entries(headers).filter(([name, value]) => name !== "Authorization" || value.trim() !== "Bearer");
  return window.fetch(address, { ...options, headers: Object.fromEntries(named) });
}

const root = document.getElementById("graphiql");
createRoot(root).render(
  createElement(GraphiQL, {
    fetcher: createGraphiQLFetcher({ fetch: fetchSignedIn, url: url.href, subscriptionUrl: subscriptionUrl.href }),
    defaultQuery: root.dataset.query,
    defaultHeaders: root.dataset.headers,
    isHeadersEditorEnabled: true,
    shouldPersistHeaders: false,
  }),
);
