//! Clients with a wrong key, with garbage, that never read, or are too many.

use crate::watching::*;
use common::*;
use multiproc_manager::{CallError, Manager, Server};
use multiproc_pipe::Address;
use multiproc_process::{Process, join_all, test};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

pub(crate) fn a_wrong_key_is_refused_and_the_server_lives_on() -> Outcome {
    let server = Server::builder().key("right").bind("127.0.0.1:0")?;
    let address = server.address().clone();
    let _program = Process::builder()
        .daemon(true)
        .start(move || server.serve_forever())?;
    for wrong in ["wrong", "", "right "] {
        let refused = Manager::connect(&address, wrong).unwrap_err();
        assert!(matches!(&refused, CallError::Connect(_)), "{refused}");
    }
    assert!(Manager::connect_without_key(&address).is_err());
    let manager = Manager::connect(&address, "right")?;
    manager.list::<u8>()?.push(1)?;
    assert!(Manager::connect("127.0.0.1:1", "right").is_err());
    assert!(Manager::connect("no address", "right").is_err());
    Ok(())
}

fn raw(address: &Address) -> Box<dyn ReadWrite> {
    match address {
        Address::Tcp(address) => Box::new(TcpStream::connect::<SocketAddr>(*address).unwrap()),
        Address::Abstract(name) => {
            let name = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
            Box::new(UnixStream::connect_addr(&name).unwrap())
        }
        other => panic!("{other}"),
    }
}

trait ReadWrite: Read + Write {}

impl<T: Read + Write> ReadWrite for T {}

pub(crate) fn garbage_and_half_open_connections_hurt_nobody_else() -> Outcome {
    let name = format!("@{}", test::unique("manager"));
    for address in [&*name, "127.0.0.1:0"] {
        let server = Server::builder().key("secret").bind(address)?;
        let address = server.address().clone();
        let _program = Process::builder()
            .daemon(true)
            .start(move || server.serve_forever())?;
        let manager = Manager::connect(&address, "secret")?;
        let list = manager.list::<u8>()?;
        let mut open = Vec::new();
        let mut dice = Dice::new(5);
        for n in 0..40 {
            let mut socket = raw(&address);
            match n % 4 {
                // Nothing at all.
                0 => {}
                1 => {
                    let garbage: Vec<u8> = (0..1000).map(|_| dice.below(256) as u8).collect();
                    let _ = socket.write_all(&garbage);
                }
                // A length that is never kept.
                2 => {
                    let _ = socket.write_all(&u32::MAX.to_le_bytes());
                }
                _ => {
                    let _ = socket.write_all(&[100, 0, 0, 0, 1, 2, 3]);
                }
            }
            open.push(socket);
            list.push(n)?;
        }
        assert_eq!(list.len()?, 40);
        // A new one gets in while they are open.
        let late = Process::start(|| -> Outcome {
            let manager = Manager::connect(&address, "secret")?;
            manager.list::<u8>()?.push(1)?;
            list.push(1)?;
            Ok(())
        })?;
        ends_well(&late);
        assert_eq!(list.len()?, 41);
    }
    Ok(())
}

/// Raises the limit of descriptors; as many as this process may have now.
fn many_descriptors(wanted: u64) -> u64 {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted.max(soft).min(hard), hard);
    getrlimit(Resource::RLIMIT_NOFILE).unwrap().0
}

pub(crate) fn a_thousand_idle_connections() -> Outcome {
    let connections = 1_000;
    let allowed = many_descriptors(16_384);
    if allowed < 8_192 {
        println!("skipped: only {allowed} descriptors are allowed");
        return Ok(());
    }
    let manager = Manager::start()?;
    let event = manager.event()?;
    let server = manager.process().unwrap().pid();
    // One call per thread at a time: so many connections.
    let clients = Process::start_each(0..4, |_| {
        std::thread::scope(|scope| {
            for _ in 0..connections / 4 {
                scope.spawn(|| event.wait().unwrap());
            }
        });
    })?;
    until("all to be connected", || {
        manager.numbers().unwrap().connections > connections
    });
    let list = manager.list::<u32>()?;
    let (before, begun) = (cpu_of(server), Instant::now());
    for n in 0..2_000 {
        list.push(n)?;
    }
    println!(
        "2,000 calls beside {connections} waiting ones: {:?}",
        begun.elapsed()
    );
    std::thread::sleep(Duration::from_secs(1));
    let used = (cpu_of(server) - before).as_secs_f64() / begun.elapsed().as_secs_f64();
    println!("the server used {:.0} % of a processor", 100.0 * used);
    event.set()?;
    join_all(clients)?;
    until("all to be gone", || {
        manager.numbers().unwrap().connections == 1
    });
    Ok(())
}

pub(crate) fn one_who_never_reads_hurts_nobody_else() -> Outcome {
    let server = Server::builder().key("secret").bind("127.0.0.1:0")?;
    let tcp = server.address().clone();
    let _program = Process::builder()
        .daemon(true)
        .start(move || server.serve_forever())?;
    let local = Manager::start()?;
    for manager in [Manager::connect(&tcp, "secret")?, local] {
        let value = manager.value(vec![1_u8; 1 << 20])?;
        let list = manager.list::<u32>()?;
        let asked = number();
        let silent = Process::start(|| {
            std::thread::scope(|scope| {
                for _ in 0..20 {
                    scope.spawn(|| {
                        asked.fetch_add(1, SeqCst);
                        let _ = value.get();
                    });
                }
                // Stopped in the middle of its answers.
                while asked.load(SeqCst) < 20 {
                    std::thread::yield_now();
                }
                let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP);
            });
        })?;
        reaches(&asked, 20);
        for n in 0..1_000 {
            list.push(n)?;
        }
        assert_eq!(value.get()?.len(), 1 << 20);
        silent.kill()?;
        let _ = silent.join()?;
        assert_eq!(list.len()?, 1_000);
    }
    Ok(())
}

pub(crate) fn limits_are_kept() -> Outcome {
    let manager = Manager::builder()
        .max_clients(3)
        .max_connections(5)
        .start()?;
    let event = manager.event()?;
    let here = number();
    let clients = Process::start_each(0..2, |_| {
        event.is_set().unwrap();
        here.fetch_add(1, SeqCst);
        event.wait().unwrap();
    })?;
    reaches(&here, 2);
    let refused = Process::start(|| {
        assert!(
            matches!(event.is_set(), Err(CallError::Refused(why)) if why.contains("3 clients"))
        );
    })?;
    ends_well(&refused);
    // Connections of this process, too: one for each call at a time. Two of five are the others'.
    std::thread::scope(|scope| -> Outcome {
        let waits: Vec<_> = (0..10)
            .map(|_| scope.spawn(|| event.wait_timeout(Duration::from_secs(1))))
            .collect();
        let waits: Vec<_> = waits.into_iter().map(|wait| wait.join().unwrap()).collect();
        let (waited, refused): (Vec<_>, Vec<_>) = waits.into_iter().partition(Result::is_ok);
        // (One refused late may find a connection that is idle again.)
        assert!(
            waited.len() >= 3 && !refused.is_empty(),
            "{waited:?} {refused:?}"
        );
        for why in refused {
            let Err(CallError::Refused(why)) = &why else {
                panic!("{why:?}");
            };
            assert!(why.contains("connections"), "{why}");
        }
        Ok(())
    })?;
    event.set()?;
    join_all(clients)?;
    Ok(())
}

pub(crate) fn a_message_that_is_too_large_is_refused_whole() -> Outcome {
    let server = Server::builder()
        .key("k")
        .max_message(1 << 20)
        .bind("127.0.0.1:0")?;
    let tcp = server.address().clone();
    let _program = Process::builder()
        .daemon(true)
        .start(move || server.serve_forever())?;
    let local = Manager::builder().max_message(1 << 20).start()?;
    for (manager, is_local) in [(Manager::connect(&tcp, "k")?, false), (local, true)] {
        let list = manager.list::<Vec<u8>>()?;
        list.push(vec![1; 900_000])?;
        list.push(vec![2; 900_000])?;
        let refused = list.push(vec![3; 3 << 20]).unwrap_err();
        match is_local {
            true => assert!(matches!(refused, CallError::TooLarge { .. }), "{refused}"),
            // The server hangs up on it, and that costs nothing else.
            false => {
                assert_eq!(refused, CallError::ConnectionLost);
                assert_eq!(list.len()?, 2);
            }
        }
        // An answer that is too large: the connection lives on.
        if is_local {
            assert!(matches!(list.to_vec(), Err(CallError::TooLarge { .. })));
            assert_eq!(list.len()?, 2);
            assert_eq!(list.get(1)?.unwrap().len(), 900_000);
            let all = list.splice(0..2, []);
            assert!(matches!(
                all,
                Err(multiproc_manager::IndexError::Call(
                    CallError::TooLarge { .. }
                ))
            ));
            assert_eq!(list.pop()?.map(|item| item[0]), Some(2));
        }
    }
    Ok(())
}
