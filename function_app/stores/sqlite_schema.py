"""The tables of the SQLite backend. Instants are microseconds; columns named *_json hold JSON."""

SCHEMA = """
create table if not exists review(
  id text primary key, edge text not null, agent text not null, resource text not null, protocol text not
    null, digest text not null,
  session text not null, operation text not null, opened integer not null, state text not null, sealed blob not null, preview blob not null,
  asked_json text, expire integer, reason text not null default '', approvers_json text not null default '[]',
    settled integer not null default 0,
  identical_to text not null default '', identical_outcome text not null default '', grant_id text not null
    default '',
  outcome text not null default '', alert text not null default '', serial integer not null) strict;
create index if not exists review_same on review(agent, resource, digest, serial);
create index if not exists review_state on review(state, expire);
create index if not exists review_serial on review(serial);
create table if not exists review_edge(review text not null references review, edge text not null, withdrawn
  integer not null default 0,
  primary key(review, edge)) strict, without rowid;
create table if not exists decision(id text primary key, review text not null references review, person text
  not null, choice text not null,
  at integer not null, reason text not null, digested integer not null default 0, unique(review, person)) strict;
create index if not exists decision_undigested on decision(review) where digested = 0;
create table if not exists permit(id text primary key, review text not null unique references review,
  signed_json text not null,
  expires integer not null, used_by text not null default '', used_edge text not null default '', used_session
    text not null default '') strict;
create table if not exists permit_returned(permit text not null references permit, operation text not null,
  primary key(permit, operation)) strict, without rowid;
create table if not exists feed(cursor integer primary key autoincrement, edge text not null, review text not
  null references review,
  state text not null, reason text not null, with_permit integer not null) strict;
create index if not exists feed_edge on feed(edge, cursor);
create table if not exists alert(id integer primary key autoincrement, at integer not null, kind text not
  null, review text not null, detail text not null) strict;
create table if not exists outbox(review text not null, step text not null, notifier text not null, claimed
  integer not null, sent integer not null default 0,
  primary key(review, step, notifier)) strict, without rowid;
create table if not exists link(hash text primary key, review text not null references review, person text not
  null, expires integer not null,
  used integer not null default 0) strict;

create table if not exists session(
  id text primary key, edge text not null, agent text not null, resource text not null, protocol text not
    null, mode text not null,
  started integer not null, ended integer not null default 0, reason text not null default '', events integer
    not null, head text not null,
  operations integer not null default 0, allowed integer not null default 0, reviewed integer not null default
    0, denied integer not null default 0,
  failed integer not null default 0, unknown integer not null default 0, rows integer not null default 0,
    masked integer not null default 0) strict;
create index if not exists session_started on session(started);
create index if not exists session_agent on session(agent, started);
create table if not exists line(session text not null references session, sequence integer not null, bytes
  blob not null,
  primary key(session, sequence)) strict, without rowid;
create table if not exists reviewed_operation(session text not null, operation text not null, review text not
  null, permit text not null,
  primary key(session, operation)) strict, without rowid;

create table if not exists access_key(id text primary key, kind text not null, name text not null, hash text
  not null unique,
  created integer not null, expires integer not null, revoked integer not null default 0, public blob not
    null) strict;
create index if not exists access_key_name on access_key(kind, name);
create table if not exists agent(name text primary key, groups_json text not null, owners_json text not null,
  created integer not null,
  revoked integer not null default 0) strict;
create table if not exists person(person text primary key, roles_json text not null, created integer not null,
  revoked integer not null default 0) strict;
create table if not exists edge(edge text primary key, resources_json text not null, agents_json text not
  null, created integer not null) strict;
create table if not exists policy(version integer primary key autoincrement, digest text not null, text text
  not null, author text not null,
  comment text not null, created integer not null) strict;
create table if not exists active_policy(one integer primary key check(one = 1), version integer not null
  references policy) strict;
create table if not exists sign_in(id text primary key, person text not null, expires integer not null, key
  text not null) strict;
"""
