//! Nobody could choose the type.

// Only the macros are needed here: they report the mistakes themselves.
use repoll_macros as runtime;

#[runtime::main]
async fn main<T: Default>() -> T {
    T::default()
}

#[runtime::main]
async fn serve<T>() -> Option<T>
where
    T: Default,
{
    Some(T::default())
}

#[runtime::main]
async fn only_where()
where
    String: Clone,
{
}

fn _callers_see_the_right_function() -> Option<u8> {
    serve()
}
