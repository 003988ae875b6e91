-- A database for each that stores something; `orders` is made by the image itself (POSTGRES_DB).
CREATE DATABASE billing;
CREATE DATABASE registry;
