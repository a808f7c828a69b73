//! From what users write to socket addresses; names are resolved on a blocking thread.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs};

/// What can be bound or connected to: socket addresses, `(host, port)` pairs, and strings of the form `host:port`. Names
/// are looked up by the C library, on a thread of the runtime's blocking pool; addresses in numbers need no look-up.
///
/// # Examples
///
/// ```
/// use net::TcpListener;
///
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     TcpListener::bind("127.0.0.1:0").await?;
///     TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
///     TcpListener::bind(("localhost", 0)).await?;
///     Ok(())
/// }
/// ```
pub trait ToAddresses: sealed::Sealed {
    /// The addresses, or the name to be looked up.
    #[doc(hidden)]
    fn to_addresses(self) -> Addresses;
}

mod sealed {
    pub trait Sealed {}
}

/// Addresses, or what they have to be made of.
#[doc(hidden)]
#[derive(Debug)]
pub enum Addresses {
    Known(Vec<SocketAddr>),
    /// `host:port`
    Text(String),
    Name(String, u16),
}

/// The addresses, at least one.
pub(crate) async fn resolve(addresses: impl ToAddresses) -> io::Result<Vec<SocketAddr>> {
    let (found, asked) = match addresses.to_addresses() {
        Addresses::Known(known) => (known, "an empty list".to_owned()),
        Addresses::Text(text) => match text.parse() {
            Ok(address) => (vec![address], text),
            Err(_) => look_up(text.clone(), text).await?,
        },
        Addresses::Name(name, port) => match name.parse::<IpAddr>() {
            Ok(ip) => (vec![(ip, port).into()], name),
            Err(_) => look_up((name.clone(), port), name).await?,
        },
    };
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{asked} names no address")));
    }
    Ok(found)
}

async fn look_up(
    what: impl ToSocketAddrs + Send + 'static,
    asked: String,
) -> io::Result<(Vec<SocketAddr>, String)> {
    let found = runtime::spawn_blocking(move || what.to_socket_addrs().map(Iterator::collect)).await?;
    match found {
        Ok(addresses) => Ok((addresses, asked)),
        Err(error) => Err(io::Error::new(error.kind(), format!("{asked}: {error}"))),
    }
}

macro_rules! to_addresses {
    ($($ty:ty: $this:ident => $addresses:expr;)*) => {$(
        impl sealed::Sealed for $ty {}
        impl ToAddresses for $ty {
            fn to_addresses(self) -> Addresses {
                let $this = self;
                $addresses
            }
        }
    )*};
}

to_addresses! {
    SocketAddr: address => Addresses::Known(vec![address]);
    SocketAddrV4: address => Addresses::Known(vec![address.into()]);
    SocketAddrV6: address => Addresses::Known(vec![address.into()]);
    (IpAddr, u16): address => Addresses::Known(vec![address.into()]);
    (Ipv4Addr, u16): address => Addresses::Known(vec![address.into()]);
    (Ipv6Addr, u16): address => Addresses::Known(vec![address.into()]);
    &[SocketAddr]: addresses => Addresses::Known(addresses.to_vec());
    &str: text => Addresses::Text(text.to_owned());
    &String: text => Addresses::Text(text.clone());
    String: text => Addresses::Text(text);
    (&str, u16): pair => Addresses::Name(pair.0.to_owned(), pair.1);
    (String, u16): pair => Addresses::Name(pair.0, pair.1);
}
