import { graphql } from "relay-runtime";

// What a screen with a list, a detail pane and an edit form declares.
export const row = graphql`
  fragment app_row on Account { id name industry owner { name } }
`;

export const list = graphql`
  fragment app_list on Query
  @argumentDefinitions(count: { type: "Int", defaultValue: 3 }, cursor: { type: "String" })
  @refetchable(queryName: "appListPageQuery") {
    accounts(first: $count, after: $cursor) @connection(key: "app_accounts") {
      edges { node { ...app_row } }
    }
  }
`;

export const screen = graphql`
  query appScreenQuery { viewer { id name } ...app_list }
`;

export const detail = graphql`
  query appDetailQuery($id: ID!) {
    node(id: $id) { id __typename ... on Account { version name contacts(first: 5) { edges { node { id name } } } } }
  }
`;

export const log = graphql`
  mutation appLogMutation($input: LogActivityInput!) {
    logActivity(input: $input) { activity { id subject relatedTo { id } } errors { path code message } }
  }
`;
