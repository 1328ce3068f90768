-- The neutral dataset: :users users and, for each of :accounts accounts, 3 contacts, 10 opportunities and 100 activities.
SELECT setseed(0.42);
CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL, email text NOT NULL);
CREATE TABLE accounts (id int PRIMARY KEY, name text NOT NULL, industry text, owner_id int NOT NULL REFERENCES users (id));
CREATE TABLE contacts (id int PRIMARY KEY, account_id int NOT NULL REFERENCES accounts (id), first_name text NOT NULL, last_name text NOT NULL, email text NOT NULL);
CREATE TABLE opportunities (id int PRIMARY KEY, name text NOT NULL, stage text NOT NULL, amount float8 NOT NULL, account_id int NOT NULL REFERENCES accounts (id),
  owner_id int NOT NULL REFERENCES users (id), close_date date NOT NULL);
CREATE TABLE activities (id serial PRIMARY KEY, kind text NOT NULL, subject text NOT NULL, opportunity_id int NOT NULL REFERENCES opportunities (id),
  owner_id int NOT NULL REFERENCES users (id), created_at timestamptz NOT NULL DEFAULT now());
INSERT INTO users SELECT i, 'User ' || i, 'user' || i || '@example.com' FROM generate_series(1, :users) AS i;
INSERT INTO accounts SELECT i, 'Account ' || i, (ARRAY['Software', 'Retail', 'Energy', 'Health', 'Finance'])[1 + i % 5], 1 + (i * 7) % :users FROM generate_series(1, :accounts) AS i;
INSERT INTO contacts SELECT i, 1 + (i - 1) % :accounts, 'First' || i, 'Last' || i, 'c' || i || '@example.com' FROM generate_series(1, :accounts * 3) AS i;
INSERT INTO opportunities SELECT i, 'Opportunity ' || i, (ARRAY['PROSPECT', 'QUALIFIED', 'PROPOSAL', 'NEGOTIATION', 'WON', 'LOST'])[1 + (hashint4(i) & 2147483647) % 6],
  floor(random() * 400000)::float8 / 4, 1 + (i * 13) % :accounts, 1 + (hashint4(i * 31) & 2147483647) % :users, date '2026-01-01' + (i % 365)
  FROM generate_series(1, :accounts * 10) AS i;
INSERT INTO activities (kind, subject, opportunity_id, owner_id, created_at)
  SELECT (ARRAY['CALL', 'EMAIL', 'MEETING', 'NOTE'])[1 + i % 4], 'Activity subject ' || i, 1 + (i * 17) % (:accounts * 10), 1 + (i * 11) % :users,
  timestamptz '2026-01-01 00:00:00.123456+00' + (i || ' seconds')::interval FROM generate_series(1, :accounts * 100) AS i;
