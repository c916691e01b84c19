//! DNS functions: `lookupIP`, `lookupIPV4`, `lookupIPV6`, `lookupSRV`, and the nodes of an SRV record. Answers are
//! sorted: name servers shuffle them, and a configuration should not change for that.

use super::arguments::text;
use gapless_gotemplate::{Element, Function, Functions, Value};
use simple_dns::rdata::{RData, SRV};
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, TYPE};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

/// The deadline of a name; after that it counts as not found.
const DEADLINE: Duration = Duration::from_secs(5);

/// The deadline of one name server's answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);

/// The file with the system's name servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The maximum of name servers, as in the C library.
const SERVERS: usize = 3;

pub fn add(functions: &mut Functions) {
    functions.insert("lookupIP", Function::new(1, |values| Ok(Value::texts(addresses(text(&values[0])?, |_| true)))));
    functions.insert(
        "lookupIPV4",
        Function::new(1, |values| Ok(Value::texts(addresses(text(&values[0])?, IpAddr::is_ipv4)))),
    );
    functions.insert(
        "lookupIPV6",
        Function::new(1, |values| Ok(Value::texts(addresses(text(&values[0])?, IpAddr::is_ipv6)))),
    );
    functions.insert(
        "lookupSRV",
        Function::new(3, |values| {
            let name = srv_name(text(&values[0])?, text(&values[1])?, text(&values[2])?);
            // As in confd, a name that is not found gives an empty list.
            Ok(records(services(&servers(), &name).unwrap_or_default()))
        }),
    );
}

/// The addresses of a host, sorted as text; empty if it is not found in time.
fn addresses(host: &str, wanted: fn(&IpAddr) -> bool) -> Vec<String> {
    let (answer, answered) = mpsc::sync_channel(1);
    let name = host.to_owned();
    // The system's resolver has no configurable deadline: its thread runs on after this function has returned.
    let asked = std::thread::Builder::new().name("lookup".into()).spawn(move || {
        let found: Vec<SocketAddr> = (name.as_str(), 0).to_socket_addrs().map(Iterator::collect).unwrap_or_default();
        let _ = answer.send(found);
    });
    let found = asked.ok().and_then(|_| answered.recv_timeout(DEADLINE).ok()).unwrap_or_default();
    let found: BTreeSet<String> =
        found.iter().map(SocketAddr::ip).filter(wanted).map(|address| address.to_string()).collect();
    found.into_iter().collect()
}

/// An SRV record.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Service {
    target: String,
    port: u16,
    priority: u16,
    weight: u16,
}

fn srv_name(service: &str, proto: &str, name: &str) -> String {
    if service.is_empty() && proto.is_empty() { name.into() } else { format!("_{service}._{proto}.{name}") }
}

fn records(mut services: Vec<Service>) -> Value {
    services.sort_by_key(|one| format!("{}{}{}{}", one.target, one.port, one.priority, one.weight));
    let record = |one: Service| {
        let number = |number: u16| Value::Int(number.into());
        let fields = vec![
            ("Target", Value::from(one.target)),
            ("Port", number(one.port)),
            ("Priority", number(one.priority)),
            ("Weight", number(one.weight)),
        ];
        Value::object("net.SRV", fields)
    };
    Value::list(Element::Struct("*net.SRV"), services.into_iter().map(record).collect())
}

/// This host's name servers.
fn servers() -> Vec<SocketAddr> {
    let text = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    let addresses = text.lines().filter_map(|line| line.strip_prefix("nameserver")?.trim().parse::<IpAddr>().ok());
    addresses.take(SERVERS).map(|address| SocketAddr::new(address, 53)).collect()
}

/// A record that was not found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no SRV record of {name}: {why}")]
pub struct LookupFailed {
    name: String,
    why: String,
}

/// The nodes of an SRV record, as `host:port`, by priority.
///
/// # Errors
/// If no name server has the record.
pub fn nodes_of(record: &str) -> Result<Vec<String>, LookupFailed> {
    let mut services = services(&servers(), record)?;
    services.sort_by_key(|one| (one.priority, std::cmp::Reverse(one.weight)));
    Ok(services.into_iter().map(|one| format!("{}:{}", one.target.trim_end_matches('.'), one.port)).collect())
}

/// Asks one name server after the other.
fn services(servers: &[SocketAddr], name: &str) -> Result<Vec<Service>, LookupFailed> {
    let failed = |why: String| LookupFailed { name: name.into(), why };
    let mut why = format!("{RESOLV_CONF} names no name server");
    for server in servers {
        match request(*server, name.trim_end_matches('.')) {
            Ok(found) => return if found.is_empty() { Err(failed("it does not exist".into())) } else { Ok(found) },
            Err(error) => why = format!("{server}: {error}"),
        }
    }
    Err(failed(why))
}

fn request(server: SocketAddr, name: &str) -> Result<Vec<Service>, String> {
    let show = |error: &dyn std::fmt::Display| error.to_string();
    let id = u16::try_from(std::time::UNIX_EPOCH.elapsed().map_or(1, |now| now.subsec_nanos() % 0xffff)).unwrap_or(1);
    let mut query = Packet::new_query(id);
    query.set_flags(PacketFlag::RECURSION_DESIRED);
    let owned = Name::new(name).map_err(|error| show(&error))?;
    query.questions.push(Question::new(owned, TYPE::SRV.into(), CLASS::IN.into(), false));
    let query = query.build_bytes_vec().map_err(|error| show(&error))?;

    let local: IpAddr = if server.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((local, 0)).map_err(|error| show(&error))?;
    socket.set_read_timeout(Some(ANSWER_DEADLINE)).map_err(|error| show(&error))?;
    // Connected, so that only the server's answers arrive.
    socket.connect(server).map_err(|error| show(&error))?;
    socket.send(&query).map_err(|error| show(&error))?;
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).map_err(|error| show(&error))?;
    match parse(&buffer[..length], id)? {
        Some(found) => Ok(found),
        None => {
            // The answer is too long for a datagram.
            let mut stream = TcpStream::connect_timeout(&server, ANSWER_DEADLINE).map_err(|error| show(&error))?;
            stream.set_read_timeout(Some(ANSWER_DEADLINE)).map_err(|error| show(&error))?;
            stream.set_write_timeout(Some(ANSWER_DEADLINE)).map_err(|error| show(&error))?;
            let length = u16::try_from(query.len()).map_err(|error| show(&error))?;
            stream.write_all(&length.to_be_bytes()).map_err(|error| show(&error))?;
            stream.write_all(&query).map_err(|error| show(&error))?;
            let mut length = [0; 2];
            stream.read_exact(&mut length).map_err(|error| show(&error))?;
            let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut answer).map_err(|error| show(&error))?;
            parse(&answer, id)?.ok_or_else(|| "the answer is truncated".into())
        }
    }
}

/// The records of an answer; `None` if it is truncated.
fn parse(answer: &[u8], id: u16) -> Result<Option<Vec<Service>>, String> {
    let packet = Packet::parse(answer).map_err(|error| error.to_string())?;
    if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) {
        return Err("the answer is to another question".into());
    }
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Ok(None);
    }
    match packet.rcode() {
        RCODE::NoError => {}
        RCODE::NameError => return Ok(Some(Vec::new())),
        code => return Err(format!("the answer is {code:?}")),
    }
    let service = |record: &SRV| Service {
        // With the final dot, as in Go.
        target: format!("{}.", record.target),
        port: record.port,
        priority: record.priority,
        weight: record.weight,
    };
    let found = packet.answers.iter().filter_map(|answer| match &answer.rdata {
        RData::SRV(record) => Some(service(record)),
        _ => None,
    });
    Ok(Some(found.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use simple_dns::ResourceRecord;

    /// A name server for the test: answers one question over UDP, truncated if `by_tcp`, and then over TCP.
    fn name_server(by_tcp: bool) -> SocketAddr {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            if let Ok(tcp) = std::net::TcpListener::bind(udp.local_addr().unwrap()) {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            let (length, client) = udp.recv_from(&mut buffer).unwrap();
            let reply = |query: &[u8], cut: bool| {
                let query = Packet::parse(query).unwrap();
                let mut reply = Packet::new_reply(query.id());
                let name = query.questions[0].qname.clone();
                if cut {
                    reply.set_flags(PacketFlag::TRUNCATION);
                } else {
                    for (target, port, weight) in [("b.example", 2u16, 5u16), ("a.example", 10, 1), ("a.example", 9, 1)]
                    {
                        let srv = SRV { priority: 1, weight, port, target: Name::new_unchecked(target) };
                        reply.answers.push(ResourceRecord::new(name.clone(), CLASS::IN, 1, RData::SRV(srv)));
                    }
                }
                reply.build_bytes_vec().unwrap()
            };
            udp.send_to(&reply(&buffer[..length], by_tcp), client).unwrap();
            if by_tcp {
                let (mut stream, _) = tcp.accept().unwrap();
                let mut length = [0; 2];
                stream.read_exact(&mut length).unwrap();
                let mut query = vec![0; u16::from_be_bytes(length).into()];
                stream.read_exact(&mut query).unwrap();
                let answer = reply(&query, false);
                stream.write_all(&u16::try_from(answer.len()).unwrap().to_be_bytes()).unwrap();
                stream.write_all(&answer).unwrap();
            }
        });
        address
    }

    #[test]
    fn services_are_sorted_by_all_fields() {
        for by_tcp in [false, true] {
            let found = services(&[name_server(by_tcp)], &srv_name("mail", "tcp", "example.com")).unwrap();
            let Value::List(list) = records(found) else { unreachable!() };
            let printed = gapless_gotemplate::print(&[Value::List(list)]);
            assert_eq!(printed, "[{a.example. 10 1 1} {a.example. 9 1 1} {b.example. 2 1 5}]");
        }
    }

    #[test]
    fn unreachable_name_server_is_reported() {
        let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = services(&[closed], "example.com").unwrap_err().to_string();
        assert!(error.starts_with(&format!("no SRV record of example.com: {closed}: ")), "{error}");
        assert_eq!(services(&[], "x").unwrap_err().why, "/etc/resolv.conf names no name server");
    }

    #[test]
    fn addresses_of_this_host_are_found() {
        assert_eq!(addresses("127.0.0.1", |_| true), ["127.0.0.1"]);
        assert_eq!(addresses("::1", IpAddr::is_ipv6), ["::1"]);
        assert_eq!(addresses("::1", IpAddr::is_ipv4), Vec::<String>::new());
        assert_eq!(addresses("no.such.host.invalid", |_| true), Vec::<String>::new());
    }
}
