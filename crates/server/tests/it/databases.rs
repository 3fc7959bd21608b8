//! The product on a database server: several processes on one database, a database that dies, a
//! network that breaks.

mod changes;
mod crowd;
mod deciders;
mod failover;
mod live_changes;
mod logins;
mod outages;
mod processes;
mod refusals;
mod rotation;
mod starts;
mod storms;
mod tls;

/// A test for each engine of each of these functions, so that a failure names both.
macro_rules! on_each_engine {
    ($($test:ident),+ $(,)?) => {
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(firstcome_testkit::Engine::Postgres).await;
                }
            )+
        }
        mod mariadb {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(firstcome_testkit::Engine::MariaDb).await;
                }
            )+
        }
    };
}
pub(crate) use on_each_engine;
