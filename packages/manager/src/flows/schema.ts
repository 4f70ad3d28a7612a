/** The tables of the flow store. `ends` and `texts` give the numbers in `flows` their meaning. */
export const schemaVersion = 2;

/** What brings the tables of a version to the next. */
export const migrations: Readonly<Record<number, string>> = {
  1: `
    ALTER TABLE flows ADD COLUMN staged INTEGER DEFAULT 0;
    ALTER TABLE flows ADD COLUMN staged_egress_reason INTEGER DEFAULT 0;
    ALTER TABLE flows ADD COLUMN staged_ingress_reason INTEGER DEFAULT 0;
    ALTER TABLE ends ADD COLUMN names VARCHAR DEFAULT '[]';
    UPDATE versions SET version = 2;`,
};

export const schema = `
  CREATE TABLE IF NOT EXISTS flows (
    arrival DOUBLE NOT NULL, host INTEGER NOT NULL, id VARCHAR,
    source INTEGER NOT NULL, source_address VARCHAR, source_port INTEGER NOT NULL,
    destination INTEGER NOT NULL, destination_address VARCHAR, destination_port INTEGER NOT NULL,
    protocol INTEGER NOT NULL, verdict INTEGER NOT NULL, egress_reason INTEGER NOT NULL, ingress_reason INTEGER NOT NULL,
    drop_reason INTEGER NOT NULL, question VARCHAR, revision DOUBLE NOT NULL, first_ms DOUBLE NOT NULL, last_ms DOUBLE NOT NULL,
    packets_out DOUBLE NOT NULL, packets_in DOUBLE NOT NULL, bytes_out DOUBLE NOT NULL, bytes_in DOUBLE NOT NULL, state INTEGER NOT NULL,
    staged INTEGER DEFAULT 0, staged_egress_reason INTEGER DEFAULT 0, staged_ingress_reason INTEGER DEFAULT 0
  );
  CREATE TABLE IF NOT EXISTS ends (
    number INTEGER NOT NULL, workload VARCHAR, identity DOUBLE NOT NULL, name VARCHAR, labels VARCHAR NOT NULL, segments VARCHAR NOT NULL,
    names VARCHAR DEFAULT '[]'
  );
  CREATE TABLE IF NOT EXISTS texts (number INTEGER NOT NULL, text VARCHAR NOT NULL);
  CREATE TABLE IF NOT EXISTS batches (host VARCHAR, boot VARCHAR, number DOUBLE NOT NULL, PRIMARY KEY (host, boot));
  CREATE TABLE IF NOT EXISTS totals (stored DOUBLE NOT NULL, lost DOUBLE NOT NULL, expired DOUBLE NOT NULL);
  CREATE TABLE IF NOT EXISTS versions (version INTEGER NOT NULL);
  INSERT INTO totals SELECT 0, 0, 0 WHERE NOT EXISTS (SELECT 1 FROM totals);
  INSERT INTO versions SELECT ${schemaVersion} WHERE NOT EXISTS (SELECT 1 FROM versions);
  CREATE TEMP TABLE superseded (arrival DOUBLE NOT NULL);
`;
