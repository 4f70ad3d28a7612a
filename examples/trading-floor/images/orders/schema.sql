create table if not exists orders (
  id bigint generated always as identity primary key,
  side text not null check (side in ('buy', 'sell')),
  quantity integer not null check (quantity > 0),
  price numeric(12, 2) not null check (price > 0),
  placed timestamptz not null default now()
);
