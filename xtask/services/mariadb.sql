-- Run by MariaDB at each start (in a container: at the first), so everything may be there already.
CREATE DATABASE IF NOT EXISTS firstcome;
CREATE USER IF NOT EXISTS firstcome@'%' IDENTIFIED BY 'firstcome';
GRANT ALL PRIVILEGES ON *.* TO firstcome@'%' WITH GRANT OPTION;
