-- The neutral dataset (schema `dataset`) as Sortie's own rows. An id ends in the number of the row that it comes from, so that
-- answers can be compared; foreign keys are not asked, for the dataset's hold. Ten territories of equal size lie in one.
CREATE TEMP TABLE made_later AS SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND indexname LIKE 'ix\_%'
  AND tablename IN ('accounts', 'contacts', 'contact_points', 'opportunities', 'activities');
SELECT format('DROP INDEX %I', indexname) FROM made_later \gexec
CREATE FUNCTION pg_temp.uid(kind int, number int) RETURNS uuid LANGUAGE sql IMMUTABLE AS
  $$ SELECT ('019b76d0-00' || lpad(to_hex(kind), 2, '0') || '-7000-8000-' || lpad(to_hex(number), 12, '0'))::uuid $$;
CREATE FUNCTION pg_temp.loaded() RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$ SELECT timestamptz '2026-01-01 00:00:00+00' $$;

INSERT INTO users (id, version, name, email, kind, language, time_zone, created_at, updated_at, created_by_kind, updated_by_kind)
  SELECT pg_temp.uid(1, id), 1, name, email, 'USER', 'ZH', 'Asia/Shanghai', pg_temp.loaded(), pg_temp.loaded(), 'IMPORT', 'IMPORT'
  FROM (SELECT id, name, email FROM dataset.users UNION ALL VALUES (:users + 1, 'Manager', 'manager@example.com')) AS people;
INSERT INTO territories (id, version, key, label_zh, label_en, parent_id, created_at, updated_at, created_by_kind, updated_by_kind)
  SELECT pg_temp.uid(2, i), 1, 'territory_' || i, '大区' || i, 'Territory ' || i, CASE WHEN i > 0 THEN pg_temp.uid(2, 0) END,
    pg_temp.loaded(), pg_temp.loaded(), 'IMPORT', 'IMPORT' FROM generate_series(0, 10) AS i;
INSERT INTO role_grants (id, version, user_id, role, territory_id, valid_from, created_at, updated_at, created_by_kind, updated_by_kind)
  SELECT pg_temp.uid(3, id), 1, pg_temp.uid(1, id), CASE id WHEN :users + 1 THEN 'MANAGER' ELSE 'REP' END,
    CASE id WHEN :users + 1 THEN pg_temp.uid(2, 0) END, pg_temp.loaded(), pg_temp.loaded(), pg_temp.loaded(), 'IMPORT', 'IMPORT'
  FROM generate_series(1, :users + 1) AS id;
INSERT INTO pipelines (id, version, key, label_zh, label_en, created_at, updated_at, created_by_kind, updated_by_kind)
  VALUES (pg_temp.uid(4, 1), 1, 'sales', '销售', 'Sales', pg_temp.loaded(), pg_temp.loaded(), 'IMPORT', 'IMPORT');
INSERT INTO stages (id, version, pipeline_id, key, label_zh, label_en, position, is_closed, is_won, default_forecast_category, created_at, updated_at, created_by_kind, updated_by_kind)
  SELECT pg_temp.uid(5, place::int), 1, pg_temp.uid(4, 1), key, zh, key, place, key IN ('WON', 'LOST'), key = 'WON',
    CASE key WHEN 'WON' THEN 'CLOSED' WHEN 'LOST' THEN 'OMITTED' ELSE 'PIPELINE' END, pg_temp.loaded(), pg_temp.loaded(), 'IMPORT', 'IMPORT'
  FROM unnest(ARRAY['PROSPECT', 'QUALIFIED', 'PROPOSAL', 'NEGOTIATION', 'WON', 'LOST'], ARRAY['接触', '确认', '方案', '谈判', '赢单', '输单']) WITH ORDINALITY AS s (key, zh, place);

INSERT INTO accounts (id, version, name, industry, territory_id, owner_id, lifecycle_stage, name_key, created_at, updated_at, created_by_kind, updated_by_kind)
  SELECT pg_temp.uid(6, id), 1, name, industry, pg_temp.uid(2, 1 + id % 10), pg_temp.uid(1, owner_id), 'ACTIVE', 'account' || id,
    pg_temp.loaded(), pg_temp.loaded(), 'IMPORT', 'IMPORT' FROM dataset.accounts ORDER BY id;
INSERT INTO contacts (id, version, account_id, name, created_at, updated_at, created_by_kind, updated_by_kind)
  SELECT pg_temp.uid(7, id), 1, pg_temp.uid(6, account_id), first_name || ' ' || last_name, pg_temp.loaded(), pg_temp.loaded(), 'IMPORT', 'IMPORT'
  FROM dataset.contacts ORDER BY id;
INSERT INTO contact_points (id, version, contact_id, channel, value, match_key, masked, created_at, updated_at, created_by_kind, updated_by_kind)
  SELECT pg_temp.uid(8, id), 1, pg_temp.uid(7, id), 'EMAIL', email, email, left(email, 1) || '***@' || split_part(email, '@', 2), pg_temp.loaded(), pg_temp.loaded(), 'IMPORT', 'IMPORT'
  FROM dataset.contacts ORDER BY id;
INSERT INTO opportunities (id, version, name, account_id, pipeline_id, stage_id, amount_minor, currency, close_date, owner_id, territory_id, forecast_category,
    opened_at, stage_entered_at, closed_at, created_at, updated_at, created_by_kind, updated_by_kind)
  SELECT pg_temp.uid(9, o.id), 1, o.name, pg_temp.uid(6, o.account_id), s.pipeline_id, s.id, round(o.amount * 100), 'CNY', o.close_date, pg_temp.uid(1, o.owner_id),
    pg_temp.uid(2, 1 + o.account_id % 10), s.default_forecast_category, pg_temp.loaded(), pg_temp.loaded(), CASE WHEN s.is_closed THEN pg_temp.loaded() END,
    pg_temp.loaded(), pg_temp.loaded(), 'IMPORT', 'IMPORT'
  FROM dataset.opportunities AS o JOIN stages AS s ON s.key = o.stage ORDER BY o.id;
INSERT INTO activities (id, version, kind, subject, occurred_at, owner_id, related_kind, related_id, account_id, opportunity_id,
    created_at, updated_at, created_by_kind, created_by_id, updated_by_kind)
  SELECT pg_temp.uid(10, a.id), 1, a.kind, a.subject, a.created_at, pg_temp.uid(1, a.owner_id), 'Opportunity', pg_temp.uid(9, o.id), pg_temp.uid(6, o.account_id),
    pg_temp.uid(9, o.id), a.created_at, a.created_at, 'IMPORT', pg_temp.uid(1, a.owner_id), 'IMPORT'
  FROM dataset.activities AS a JOIN dataset.opportunities AS o ON o.id = a.opportunity_id ORDER BY a.id;

SELECT indexdef FROM made_later \gexec
DROP SCHEMA dataset CASCADE;
