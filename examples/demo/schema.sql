-- The demo's database: a small shop with something to protect.
CREATE TABLE customers (
    id    int PRIMARY KEY,
    name  text NOT NULL,
    email text NOT NULL,
    ssn   text NOT NULL
);
CREATE TABLE orders (
    id          int PRIMARY KEY,
    customer_id int NOT NULL REFERENCES customers,
    total       numeric(10, 2) NOT NULL,
    status      text NOT NULL
);
CREATE TABLE visits (
    id   int PRIMARY KEY,
    page text NOT NULL
);

INSERT INTO customers VALUES
    (1, 'Ada Marsh', 'ada.marsh@example.com', '219-09-9999'),
    (2, 'Bo Lindqvist', 'bo.lindqvist@example.org', '457-55-5462'),
    (3, 'Chidi Okafor', 'chidi.okafor@example.net', '078-05-1120');
INSERT INTO orders VALUES
    (7, 1, 129.90, 'open'),
    (8, 2, 59.00, 'open'),
    (9, 3, 12.50, 'shipped');
INSERT INTO visits SELECT n, '/product/' || n FROM generate_series(1, 5000) AS n;
