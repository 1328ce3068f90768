import { graphql } from "./generated/gql.js";
import type { DraftVisitBriefInput, ErrorCode, OpportunitiesQuery } from "./generated/graphql.js";

export const OPPORTUNITIES = graphql(`
  query Opportunities($first: Int!, $filter: OpportunityFilter) {
    opportunities(first: $first, filter: $filter, orderBy: AMOUNT_DESC) {
      edges { node { id version name amount { amount currency } stage { label isClosed } account { id name } closeDate } }
      pageInfo { hasNextPage endCursor }
    }
  }
`);

export const BRIEF = graphql(`
  mutation Brief($input: DraftVisitBriefInput!) {
    draftVisitBrief(input: $input) { generation { id disposition text } errors { path code message } }
  }
`);

// Amounts are exact strings and dates are strings: arithmetic on them by accident does not compile.
export function amounts(data: OpportunitiesQuery): string[] {
  return data.opportunities.edges.flatMap(({ node }) => (node.amount ? [node.amount.amount] : []));
}

export const input: DraftVisitBriefInput = { accountId: "x", clientKey: "k" };
export const code: ErrorCode = "STALE_VERSION" as ErrorCode;
