-- What the peer is given beside the tables: the indexes that its four operations want, and the pipeline as a function.
CREATE INDEX ON accounts (owner_id);
CREATE INDEX ON contacts (account_id, id);
CREATE INDEX ON opportunities (account_id);
CREATE INDEX ON opportunities (owner_id, stage, amount DESC, id);
CREATE INDEX ON opportunities (stage) INCLUDE (amount);
CREATE INDEX ON activities (opportunity_id, id DESC);
CREATE INDEX ON activities (owner_id);
CREATE TYPE pipeline_stage AS (stage text, count int, total_amount float8);
CREATE FUNCTION pipeline_by_stage() RETURNS SETOF pipeline_stage LANGUAGE sql STABLE AS
  $$ SELECT stage, count(*)::int, sum(amount) FROM opportunities GROUP BY stage ORDER BY stage $$;
