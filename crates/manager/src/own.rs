//! Types of the user's own: registered with a server, called by their methods' names.

use crate::error::{CallError, Failed, Failure, RemoteError};
use crate::handle::Handle;
use crate::remote::unexpected;
use crate::server::{self, Object, caller::Caller};
use crate::stored::{Stored, fetch, store};
use crate::wire::{Answer, Call};
use multiproc_core::wait::SLICE;
use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};
use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};

/// A type whose objects can live in a server. [`managed!`](crate::managed!) writes this.
pub trait Managed: Send + 'static {
    /// What it is called by those who want one.
    fn name() -> &'static str
    where
        Self: Sized;

    /// Calls a method by its name.
    ///
    /// # Errors
    ///
    /// [`RemoteError`]: there is none of that name, or the arguments are none of its.
    fn call(&mut self, method: &str, arguments: Arguments<'_>) -> Result<Returned, RemoteError>;
}

/// What a method was called with.
pub struct Arguments<'a> {
    type_name: &'static str,
    method: &'a str,
    stored: &'a Stored,
    caller: &'a Caller,
}

/// What a method returned.
pub struct Returned(What);

enum What {
    Value(Stored),
    Items(Items),
}

type Items = Box<dyn FnMut(&Caller) -> Option<Result<Stored, RemoteError>> + Send>;

fn encode<T: Serialize>(method: &str, caller: &Caller, value: &T) -> Result<Stored, RemoteError> {
    let stored = store(&caller.core.myself, value).map_err(|e| RemoteError::Result {
        method: method.into(),
        why: e.to_string(),
    })?;
    // Counted for the client before the value, and the handles in it, go.
    Ok(caller.copy_out(&stored))
}

impl Arguments<'_> {
    /// All of them, as a tuple.
    ///
    /// # Errors
    ///
    /// [`RemoteError::Arguments`].
    pub fn decode<A: DeserializeOwned>(&self) -> Result<A, RemoteError> {
        self.caller.core.count_for_myself(self.stored);
        let arguments = fetch(&self.caller.core.myself, self.stored);
        arguments.map_err(|e| RemoteError::Arguments {
            method: self.method.into(),
            why: e.to_string(),
        })
    }

    /// The method's result.
    ///
    /// # Errors
    ///
    /// [`RemoteError::Result`].
    pub fn returned<R: Serialize>(&self, result: R) -> Result<Returned, RemoteError> {
        let stored = encode(self.method, self.caller, &result)?;
        Ok(Returned(What::Value(stored)))
    }

    /// The method's result is an iterator, from which the caller fetches as it goes.
    pub fn iterator<I>(&self, items: I) -> Returned
    where
        I: IntoIterator<Item: Serialize, IntoIter: Send + 'static>,
    {
        let mut items = items.into_iter();
        let method = self.method.to_owned();
        Returned(What::Items(Box::new(move |caller| {
            let item = items.next()?;
            Some(encode(&method, caller, &item))
        })))
    }

    /// There is no such method.
    pub fn not_exposed(&self) -> RemoteError {
        RemoteError::NotExposed {
            type_name: self.type_name.into(),
            method: self.method.into(),
        }
    }
}

impl fmt::Debug for Arguments<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}({:?})", self.type_name, self.method, self.stored)
    }
}

impl fmt::Debug for Returned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            What::Value(value) => value.fmt(f),
            What::Items(_) => f.write_str("an iterator"),
        }
    }
}

type Make = Box<dyn Fn() -> Box<dyn Managed> + Send + Sync>;

/// The types that a server makes objects of.
#[derive(Default)]
pub(crate) struct Types(HashMap<&'static str, Make>);

impl Types {
    pub(crate) fn register<T: Managed>(&mut self, make: impl Fn() -> T + Send + Sync + 'static) {
        self.0.insert(T::name(), Box::new(move || Box::new(make())));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &&'static str> {
        self.0.keys()
    }
}

/// An object of a registered type, in its server.
pub(crate) struct Body {
    type_name: &'static str,
    object: Mutex<Box<dyn Managed>>,
}

impl Body {
    pub(crate) fn new(types: &Types, name: &str) -> Result<Self, Failure> {
        let Some((type_name, make)) = types.0.get_key_value(name) else {
            let why = format!("no type {name:?} is registered");
            return Err(Failure::Refused(why));
        };
        let object = guarded(name, || Ok(make())).map_err(Failure::Remote)?;
        Ok(Self {
            type_name,
            object: Mutex::new(object),
        })
    }
}

impl server::Body for Body {
    fn kind(&self) -> &'static str {
        self.type_name
    }

    fn call(&self, call: Call, caller: &Caller) -> Result<Answer, Failure> {
        let Call::Method { method, arguments } = call else {
            return self.not_mine();
        };
        let mut object = loop {
            match self.object.try_lock_for(SLICE) {
                Some(object) => break object,
                None => caller.check()?,
            }
        };
        let arguments = Arguments {
            type_name: self.type_name,
            method: &method,
            stored: &arguments,
            caller,
        };
        let returned = guarded(&method, || object.call(&method, arguments));
        drop(object);
        match returned.map_err(Failure::Remote)?.0 {
            What::Value(value) => Ok(Answer::Item(Some(value))),
            What::Items(items) => {
                let object = |number| Object {
                    number,
                    tag: "Iterator".into(),
                    body: Box::new(Iteration(Mutex::new(Some(items)))),
                };
                let number = caller.core.table.lock().add(caller.account, object);
                Ok(Answer::Iterator(number))
            }
        }
    }
}

/// An iterator in its server; none once it is over.
struct Iteration(Mutex<Option<Items>>);

impl server::Body for Iteration {
    fn kind(&self) -> &'static str {
        "Iterator"
    }

    fn call(&self, call: Call, caller: &Caller) -> Result<Answer, Failure> {
        let Call::Next(most) = call else {
            return self.not_mine();
        };
        let mut iteration = self.0.lock();
        let mut some = Vec::new();
        while some.len() < most as usize {
            let Some(items) = iteration.as_mut() else {
                break;
            };
            match guarded("next", || items(caller).transpose()) {
                Ok(Some(item)) => some.push(item),
                Ok(None) => *iteration = None,
                Err(why) => {
                    *iteration = None;
                    return Err(Failure::Remote(why));
                }
            }
        }
        Ok(Answer::Items(some))
    }
}

thread_local! {
    static IN_METHOD: Cell<bool> = const { Cell::new(false) };
    static TRACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Panics of methods go to who called; all others where they went before.
fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !IN_METHOD.get() {
                return before(info);
            }
            let place = info.location().map(ToString::to_string);
            let trace = format!(
                "{}\n{}",
                place.unwrap_or_default(),
                Backtrace::force_capture()
            );
            TRACE.set(trace);
        }));
    });
}

/// Runs code of the user's; a panic becomes an error.
fn guarded<R>(
    method: &str,
    run: impl FnOnce() -> Result<R, RemoteError>,
) -> Result<R, RemoteError> {
    install_hook();
    let before = IN_METHOD.replace(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    IN_METHOD.set(before);
    result.unwrap_or_else(|panic| {
        let message = text_of(&*panic);
        // Its drop may panic, too.
        std::mem::forget(panic);
        Err(RemoteError::Panicked {
            method: method.into(),
            message,
            trace: TRACE.take(),
        })
    })
}

/// What a panic says.
pub(crate) fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic that is no text".into())
}

fn method_call<A: Serialize>(
    handle: &Arc<Handle>,
    method: &str,
    arguments: &A,
) -> Result<Answer, Failed> {
    handle.call(Call::Method {
        method: method.to_owned(),
        arguments: store(&handle.remote, arguments)?,
    })
}

#[doc(hidden)]
pub fn call_method<A: Serialize, R: DeserializeOwned>(
    handle: &Arc<Handle>,
    method: &str,
    arguments: &A,
) -> Result<R, CallError> {
    match method_call(handle, method, arguments)? {
        Answer::Item(Some(result)) => fetch(&handle.remote, &result),
        _ => Err(unexpected().into()),
    }
}

#[doc(hidden)]
pub fn iterate<A: Serialize, T>(
    handle: &Arc<Handle>,
    method: &str,
    arguments: &A,
) -> Result<RemoteIter<T>, CallError> {
    match method_call(handle, method, arguments)? {
        Answer::Iterator(number) => Ok(RemoteIter {
            iterator: Handle::counted(handle.remote.clone(), number),
            page: Vec::new().into_iter(),
            over: false,
            types: PhantomData,
        }),
        _ => Err(unexpected().into()),
    }
}

/// Items that are fetched at a time.
const PAGE: u32 = 64;

/// An iterator that a method returned: it stays in the server, and this fetches from it. Ends
/// with the first error.
pub struct RemoteIter<T> {
    iterator: Handle,
    page: std::vec::IntoIter<Stored>,
    over: bool,
    types: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Iterator for RemoteIter<T> {
    type Item = Result<T, CallError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(item) = self.page.next() {
            return Some(fetch(&self.iterator.remote, &item));
        }
        if self.over {
            return None;
        }
        match self.iterator.call(Call::Next(PAGE)) {
            Ok(Answer::Items(items)) => {
                self.over = items.len() < PAGE as usize;
                self.page = items.into_iter();
                let item = self.page.next()?;
                Some(fetch(&self.iterator.remote, &item))
            }
            other => {
                self.over = true;
                Some(Err(other.err().unwrap_or_else(unexpected).into()))
            }
        }
    }
}

impl<T> fmt::Debug for RemoteIter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteIter({:?})", self.iterator)
    }
}

/// Makes a type managed, and a proxy for it.
///
/// ```rust,standalone_crate
/// use multiproc_manager::{Manager, managed};
/// use multiproc_process::Process;
///
/// #[derive(Default)]
/// struct Account {
///     balance: i64,
///     log: Vec<String>,
/// }
///
/// impl Account {
///     fn deposit(&mut self, amount: i64, from: String) -> i64 {
///         self.log.push(from);
///         self.balance += amount;
///         self.balance
///     }
///
///     fn withdraw(&mut self, amount: i64) -> Result<i64, String> {
///         let left = self.balance - amount;
///         if left < 0 {
///             return Err(format!("{} are missing", -left));
///         }
///         self.balance = left;
///         Ok(left)
///     }
///
///     fn log(&self) -> Vec<String> {
///         self.log.clone()
///     }
///
///     fn internal(&self) {} // not listed below: cannot be called from outside
/// }
///
/// managed! {
///     /// A handle of an account in a server.
///     proxy AccountProxy for Account {
///         /// Pays something in.
///         fn deposit(&mut self, amount: i64, from: String) -> i64;
///         fn withdraw(&mut self, amount: i64) -> Result<i64, String>;
///     }
///     iterators {
///         fn log(&self) -> String;
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = Manager::builder().register(Account::default).start()?;
/// let account = manager.make::<AccountProxy>()?;
/// let child = Process::start(|| account.deposit(5, "the child".into()).unwrap() as i32)?;
/// assert_eq!(child.join()?.code(), 5);
/// // What a method returns as an error comes back as it is.
/// assert_eq!(account.withdraw(7)?, Err("2 are missing".into()));
/// for entry in account.log()? {
///     assert_eq!(entry?, "the child");
/// }
/// # account.withdraw(1)??;
/// manager.shut_down()?;
/// # Ok(())
/// # }
/// ```
///
/// Each method of the list becomes one of the proxy, with a `Result<_, CallError>` around what it
/// returns; only these can be called. Arguments and results are anything with serde, handles of
/// managed objects, too. Methods under `iterators` return anything that iterates (`Send +
/// 'static`), and on the proxy a [`RemoteIter`] that fetches the items as it goes.
///
/// One method of an object runs at a time. A method that panics gives
/// [`RemoteError::Panicked`] to who called it, and the server lives on.
#[macro_export]
macro_rules! managed {
    (
        $(#[$meta:meta])*
        $vis:vis proxy $proxy:ident for $type:ident {
            $(
                $(#[$mmeta:meta])*
                fn $method:ident(& $($this:ident)+ $(, $arg:ident: $argtype:ty)* $(,)?)
                    $(-> $result:ty)?;
            )*
        }
        $(iterators {
            $(
                $(#[$imeta:meta])*
                fn $imethod:ident(& $($ithis:ident)+ $(, $iarg:ident: $iargtype:ty)* $(,)?)
                    -> $item:ty;
            )*
        })?
    ) => {
        $crate::proxy! {
            $(#[$meta])*
            $vis $proxy<>, stringify!($type)
        }

        #[allow(dead_code)]
        impl $proxy {
            $(
                $(#[$mmeta])*
                $vis fn $method(&self $(, $arg: $argtype)*)
                    -> ::std::result::Result<$crate::__result!($($result)?), $crate::CallError>
                {
                    let arguments = ($($arg,)*);
                    $crate::private::call_method(&self.handle, stringify!($method), &arguments)
                }
            )*
            $($(
                $(#[$imeta])*
                $vis fn $imethod(&self $(, $iarg: $iargtype)*)
                    -> ::std::result::Result<$crate::RemoteIter<$item>, $crate::CallError>
                {
                    let arguments = ($($iarg,)*);
                    $crate::private::iterate(&self.handle, stringify!($imethod), &arguments)
                }
            )*)?
        }

        impl $crate::Managed for $type {
            fn name() -> &'static str {
                stringify!($type)
            }

            fn call(
                &mut self,
                method: &str,
                arguments: $crate::Arguments<'_>,
            ) -> ::std::result::Result<$crate::Returned, $crate::RemoteError> {
                $(
                    if method == stringify!($method) {
                        let ($($arg,)*): ($($argtype,)*) = arguments.decode()?;
                        return arguments.returned(self.$method($($arg),*));
                    }
                )*
                $($(
                    if method == stringify!($imethod) {
                        let ($($iarg,)*): ($($iargtype,)*) = arguments.decode()?;
                        return Ok(arguments.iterator(self.$imethod($($iarg),*)));
                    }
                )*)?
                Err(arguments.not_exposed())
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __result {
    () => {
        ()
    };
    ($result:ty) => {
        $result
    };
}
