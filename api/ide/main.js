// What the page runs: GraphiQL over POST, subscriptions over graphql-transport-ws, the token from the headers' pane.
import { createGraphiQLFetcher } from "@graphiql/toolkit";
import { GraphiQL } from "graphiql";
import { createElement } from "react";
import { createRoot } from "react-dom/client";
import "graphiql/graphiql.css";

const url = new URL(window.location.pathname, window.location.href);
const subscriptionUrl = new URL(url);
subscriptionUrl.protocol = url.protocol === "https:" ? "wss:" : "ws:";

const root = document.getElementById("graphiql");
createRoot(root).render(
  createElement(GraphiQL, {
    fetcher: createGraphiQLFetcher({ url: url.href, subscriptionUrl: subscriptionUrl.href }),
    defaultQuery: root.dataset.query,
    defaultHeaders: root.dataset.headers,
    isHeadersEditorEnabled: true,
    shouldPersistHeaders: false,
  }),
);
