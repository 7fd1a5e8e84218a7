//! Proxies, objects and files that travel; names; addresses.

use crate::processes::{Register, RegisterProxy};
use crate::watching::*;
use common::*;
use multiproc_manager::{CallError, Dict, List, Manager, Queue, Server};
use multiproc_pipe::Address;
use multiproc_process::{Process, test};
use std::io::{Read, Write};

pub(crate) fn proxies_travel_by_name_and_over_tcp() -> Outcome {
    let manager = Manager::start()?;
    let list = manager.list::<u32>()?;
    // Through a queue that was opened by name, through which no descriptor travels.
    let name = test::unique("manager-post");
    let post = multiproc_queue::Queue::<List<u32>>::create(&name)?;
    let child = Process::start(|| {
        let post = multiproc_queue::Queue::<List<u32>>::open(&name).unwrap();
        post.get().unwrap().push(5).unwrap();
    })?;
    post.put(list.clone())?;
    ends_well(&child);
    multiproc_queue::Queue::<List<u32>>::unlink(&name)?;
    // Through a connection over TCP.
    let listener = multiproc_pipe::Listener::bind("127.0.0.1:0")?;
    let address = listener.address().clone();
    let child = Process::start(|| {
        let line = multiproc_pipe::Client::connect::<List<u32>, List<u32>>(&address).unwrap();
        line.recv().unwrap().push(6).unwrap();
    })?;
    let line = listener.accept::<List<u32>, List<u32>>()?;
    line.send(list.clone())?;
    ends_well(&child);
    assert_eq!(list.to_vec()?, [5, 6]);
    // One that was not sent is given back, one that was never in a message refused.
    let full = multiproc_queue::Queue::<List<u32>>::bounded(1)?;
    full.put(list.clone())?;
    let back = full.try_put(list.clone()).unwrap_err().into_message();
    assert_eq!(back, full.get()?);
    drop(back);
    let bytes = postcard::to_allocvec(&list);
    assert!(bytes.is_err());
    drop((list, post));
    objects(&manager, 0);
    Ok(())
}

pub(crate) fn objects_given_to_methods_and_returned_by_them() -> Outcome {
    let manager = Manager::builder().register(Register::default).start()?;
    let register = manager.make::<RegisterProxy>()?;
    for n in 1..=3 {
        let list = manager.list::<u32>()?;
        list.extend([n, n])?;
        assert_eq!(register.keep(list)?, n); // and only the register has it
    }
    objects(&manager, 4);
    assert_eq!(register.total()?, Ok(12));
    let first = register.first()?.unwrap();
    assert_eq!(first.to_vec()?, [1, 1]);
    register.forget()?;
    objects(&manager, 2);
    assert_eq!(first.to_vec()?, [1, 1]);
    drop(first);
    objects(&manager, 1);
    Ok(())
}

pub(crate) fn files_in_a_dict() -> Outcome {
    use multiproc_parcel::Descriptor;
    let manager = Manager::start()?;
    let pipes = manager.dict::<String, Descriptor<std::io::PipeWriter>>()?;
    let queues = manager.dict::<String, multiproc_queue::Queue<u32>>()?;
    let (mut reader, writer) = std::io::pipe()?;
    pipes.insert("one".to_owned(), Descriptor(writer))?;
    let plain = multiproc_queue::Queue::<u32>::unbounded()?;
    queues.insert("plain".to_owned(), &plain)?;
    let child = Process::start(|| -> Outcome {
        for _ in 0..2 {
            let Descriptor(mut pipe) = pipes.get("one")?.unwrap();
            pipe.write_all(b"hello ")?;
        }
        queues.get("plain")?.unwrap().put(5)?;
        Ok(())
    })?;
    ends_well(&child);
    assert_eq!(plain.get()?, 5);
    pipes.clear()?;
    let mut text = String::new();
    reader.read_to_string(&mut text)?; // ends, as nobody has the other end
    assert_eq!(text, "hello hello ");
    // Registered ends are somebody's.
    let ends = manager.list::<multiproc_queue::Producer<u32>>()?;
    let (tx, rx) = multiproc_queue::Queue::<u32>::unbounded()?.split();
    assert!(matches!(ends.push(&tx), Err(CallError::Encode(why)) if why.contains("end")));
    tx.put(1)?; // as it was
    assert_eq!(rx.get()?, 1);
    Ok(())
}

pub(crate) fn another_item_type_is_refused_by_both_names() -> Outcome {
    let manager = Manager::start()?;
    let list = manager.list::<u32>()?;
    manager.publish("list", &list)?;
    let Err(CallError::OtherType { found, expected }) = manager.find::<List<String>>("list") else {
        panic!("it was found");
    };
    assert!(
        found.contains("u32") && expected.contains("String"),
        "{found} {expected}"
    );
    assert!(manager.find::<Dict<u32, u32>>("list").is_err());
    assert_eq!(manager.find::<List<u32>>("list")?, Some(list.clone()));
    // In a message: the receiver's type counts.
    let post = multiproc_queue::Queue::<List<u32>>::unbounded()?;
    post.put(list)?;
    Ok(())
}

pub(crate) fn names_are_published_found_and_withdrawn() -> Outcome {
    let manager = Manager::start()?;
    let queue = manager.queue::<u32>()?;
    manager.publish("jobs", &queue)?;
    assert!(manager.publish("jobs", &queue).is_err());
    queue.put(1)?;
    drop(queue);
    objects(&manager, 1); // the name keeps it
    let found: Queue<u32> = manager.find("jobs")?.unwrap();
    assert_eq!(found.get()?, 1);
    drop(found);
    assert!(manager.withdraw("jobs")? && !manager.withdraw("jobs")?);
    objects(&manager, 0);
    assert_eq!(manager.find::<Queue<u32>>("jobs")?, None);
    Ok(())
}

pub(crate) fn another_program_over_each_kind_of_address() -> Outcome {
    let path = format!("/tmp/{}", test::unique("manager"));
    let name = format!("@{}", test::unique("manager"));
    for address in [&*path, &*name, "127.0.0.1:0", "[::1]:0"] {
        let server = Server::builder().key("secret").register(Register::default);
        let server = match server.bind(address) {
            Ok(server) => server,
            // A machine without that kind of network.
            Err(why) if address.starts_with('[') => {
                println!("{why}");
                continue;
            }
            Err(why) => return Err(why.into()),
        };
        let address = server.address().clone();
        let program = Process::builder()
            .daemon(true)
            .start(move || server.serve_forever())?;
        let manager = Manager::connect(&address, "secret")?;
        let register = manager.make::<RegisterProxy>()?;
        let list = manager.list::<u32>()?;
        register.keep(list.clone())?;
        let dict = manager.dict::<String, Queue<u32>>()?;
        dict.insert("q".to_owned(), manager.queue()?)?;
        let client = Process::start(|| -> Outcome {
            let manager = Manager::connect(&address, "secret")?;
            list.push(1)?;
            let queue = dict.get("q")?.unwrap();
            queue.put(7)?;
            assert!(matches!(
                manager.shut_down(),
                Err(multiproc_manager::ShutDownError::NotOwner)
            ));
            Ok(())
        })?;
        ends_well(&client);
        assert_eq!(dict.get("q")?.unwrap().get()?, 7);
        assert_eq!(register.total()?, Ok(1));
        // A big one, both ways.
        let big = manager.value(vec![7_u8; 3 << 20])?;
        assert_eq!(big.get()?.len(), 3 << 20);
        drop((register, list, dict, big));
        objects(&manager, 0);
        program.terminate()?;
        let _ = program.join()?;
        assert_eq!(manager.list::<u8>().err(), Some(CallError::ServerGone));
        if let Address::Path(path) = &address {
            std::fs::remove_file(path)?; // terminated, it could not
        }
    }
    assert!(Server::builder().bind("127.0.0.1:0").is_err()); // no key
    Ok(())
}
