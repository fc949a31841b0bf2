//! What can be stored: byte strings inline in the entry, or any clonable type by value.
//!
//! One engine serves both kinds. [`Value`] tells it how large the value area of an entry is and
//! how to write, read, copy and drop what stands there; the entry itself lives in
//! [`table::entry`](crate::table).

use std::alloc::Layout;
use std::fmt;
use std::mem::MaybeUninit;
use std::ops::Deref;

use bytes::Bytes;

/// Byte strings up to this length stand in the entry itself; a longer one is a shared
/// allocation of its own, so that reading it copies a reference instead of the bytes.
pub(crate) const INLINE_BYTES: usize = 1024;

/// The value kind of a [`Cache`](crate::Cache) of byte strings (the default).
///
/// It is only a marker: bytes go in as anything that implements [`IntoValue<Blob>`] and come
/// out as [`SmallBytes`], or borrowed as `[u8]`.
// Not `Clone`: that keeps it apart from the blanket implementation of `Value`.
#[derive(Debug)]
pub enum Blob {}

/// A kind of value that a [`Cache`](crate::Cache) can hold: [`Blob`], or any
/// `T: Clone + Send + Sync + 'static` stored by value.
///
/// Sealed: there is nothing to implement.
pub trait Value: sealed::Stored {}

impl<V: sealed::Stored> Value for V {}

/// What can be handed to `set` and its kin for a cache of `V`.
///
/// For [`Blob`]: `&[u8]`, `&[u8; N]`, `&str`, `Vec<u8>`, `Box<[u8]>`, `String` and [`Bytes`].
/// For any other `T`: a `T`.
pub trait IntoValue<V: Value> {
    /// Hands the value to `store` in the form in which the engine takes it.
    #[doc(hidden)]
    fn with_input<R>(self, store: impl FnOnce(V::Input<'_>) -> R) -> R;
}

/// An owned byte string as a get returns it: short ones without any allocation, very long ones
/// shared with the cache.
#[derive(Clone)]
pub struct SmallBytes(Repr);

/// So that a `SmallBytes` is a cache line and a half.
const SMALL_BYTES: usize = 94;

#[derive(Clone)]
enum Repr {
    /// The first `len` bytes are initialised: to zero the others would cost as much as the copy.
    Short {
        len: u8,
        bytes: [MaybeUninit<u8>; SMALL_BYTES],
    },
    Long(Bytes),
}

/// The size of a stored value, as its entry's header remembers it.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Bytes of a byte string; of a typed value the bytes that the weigher says it holds
    /// outside its entry.
    pub(crate) len: u32,
    /// The length stands behind the value and not in the header. Of a byte string the value area
    /// holds a [`Bytes`] then, not the bytes.
    pub(crate) long: bool,
}

/// A byte string on its way in.
#[doc(hidden)]
#[derive(Debug)]
pub enum BlobInput<'a> {
    /// To be copied.
    Slice(&'a [u8]),
    /// Longer than what goes inline, in an allocation of exactly its length.
    Shared(Bytes),
}

/// What a usual allocator (glibc, jemalloc and mimalloc are close to each other) takes for
/// `bytes`: a multiple of 16 with a word of its own.
pub(crate) const fn allocated(bytes: usize) -> usize {
    (bytes + 8 + 15) & !15
}

pub(crate) mod sealed {
    use super::{Extent, Layout};

    /// How a value lives in an entry.
    ///
    /// # Safety
    ///
    /// `write` initialises an area of the layout that `area` gives for the input's extent, and
    /// the other functions accept what it wrote, at any address of that alignment.
    pub unsafe trait Stored: 'static {
        type Owned: Clone + Send + Sync + 'static;
        type Borrowed: ?Sized + Sync;
        type Input<'a>;

        /// `weigh` gives the bytes that a typed value holds outside its entry.
        fn extent(input: &Self::Input<'_>, weigh: impl FnOnce(&Self::Borrowed) -> usize) -> Extent;
        /// The value, as it is before it is stored.
        fn input_ref<'a>(input: &'a Self::Input<'_>) -> &'a Self::Borrowed;
        fn area(extent: Extent) -> Layout;
        /// Bytes that a value of this extent holds outside its entry.
        fn heap_bytes(extent: Extent) -> usize;

        /// # Safety
        /// `at` is valid for writes of the area of the input's extent, and aligned for it.
        unsafe fn write(input: Self::Input<'_>, at: *mut u8);
        /// # Safety
        /// `at` was written by `write` with this extent and stays valid and unchanged for `'a`.
        unsafe fn borrow<'a>(at: *const u8, extent: Extent) -> &'a Self::Borrowed;
        /// # Safety
        /// As for `borrow`.
        unsafe fn copy<'a>(at: *const u8, extent: Extent) -> Self::Input<'a>;
        /// # Safety
        /// As for `borrow`.
        unsafe fn to_owned(at: *const u8, extent: Extent) -> Self::Owned;
        /// # Safety
        /// `at` was written by `write` with this extent, nobody reads it any more, and it is
        /// dropped once.
        unsafe fn drop_in_place(at: *mut u8, extent: Extent);

        fn owned_ref(owned: &Self::Owned) -> &Self::Borrowed;
    }
}

// SAFETY: the area is a `Bytes` where the extent is long, else exactly `len` bytes.
unsafe impl sealed::Stored for Blob {
    type Owned = SmallBytes;
    type Borrowed = [u8];
    type Input<'a> = BlobInput<'a>;

    #[inline]
    fn extent(input: &BlobInput<'_>, _: impl FnOnce(&[u8]) -> usize) -> Extent {
        let (len, long) = match input {
            BlobInput::Slice(bytes) => (bytes.len(), false),
            BlobInput::Shared(bytes) => (bytes.len(), true),
        };
        // Saturating: no value is longer than `max_value_bytes`, which is less than this.
        Extent { len: u32::try_from(len).unwrap_or(u32::MAX), long }
    }

    #[inline]
    fn input_ref<'a>(input: &'a BlobInput<'_>) -> &'a [u8] {
        match input {
            BlobInput::Slice(bytes) => bytes,
            BlobInput::Shared(bytes) => bytes,
        }
    }

    #[inline]
    fn area(extent: Extent) -> Layout {
        if extent.long {
            Layout::new::<Bytes>()
        } else {
            // A length of at most `INLINE_BYTES` cannot overflow a layout.
            Layout::array::<u8>(extent.len as usize).unwrap_or(Layout::new::<u8>())
        }
    }

    #[inline]
    fn heap_bytes(extent: Extent) -> usize {
        // A `Bytes` makes a small shared record of its own when it is first cloned.
        const SHARED_RECORD: usize = 32;
        if extent.long { allocated(extent.len as usize) + SHARED_RECORD } else { 0 }
    }

    #[inline]
    unsafe fn write(input: BlobInput<'_>, at: *mut u8) {
        match input {
            // SAFETY: the caller gives room for the slice; a fresh entry overlaps nothing.
            BlobInput::Slice(bytes) => unsafe {
                at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            },
            // SAFETY: the caller gives an aligned area for a `Bytes`.
            BlobInput::Shared(bytes) => unsafe { at.cast::<Bytes>().write(bytes) },
        }
    }

    #[inline]
    unsafe fn borrow<'a>(at: *const u8, extent: Extent) -> &'a [u8] {
        if extent.long {
            // SAFETY: the extent is long, so `write` left a `Bytes` here; the caller keeps it.
            unsafe { &*at.cast::<Bytes>() }
        } else {
            // SAFETY: `write` left `len` bytes here; the caller keeps them.
            unsafe { std::slice::from_raw_parts(at, extent.len as usize) }
        }
    }

    #[inline]
    unsafe fn copy<'a>(at: *const u8, extent: Extent) -> BlobInput<'a> {
        if extent.long {
            // SAFETY: the extent is long, so `write` left a `Bytes` here; the caller keeps it.
            BlobInput::Shared(unsafe { &*at.cast::<Bytes>() }.clone())
        } else {
            // SAFETY: as the caller promises.
            BlobInput::Slice(unsafe { Self::borrow(at, extent) })
        }
    }

    #[inline]
    unsafe fn to_owned(at: *const u8, extent: Extent) -> SmallBytes {
        if extent.long {
            // SAFETY: the extent is long, so `write` left a `Bytes` here; the caller keeps it.
            SmallBytes(Repr::Long(unsafe { &*at.cast::<Bytes>() }.clone()))
        } else {
            // SAFETY: as the caller promises.
            SmallBytes::copy_from_slice(unsafe { Self::borrow(at, extent) })
        }
    }

    #[inline]
    unsafe fn drop_in_place(at: *mut u8, extent: Extent) {
        if extent.long {
            // SAFETY: the extent is long, so `write` left a `Bytes` here; dropped once.
            unsafe { at.cast::<Bytes>().drop_in_place() };
        }
    }

    #[inline]
    fn owned_ref(owned: &SmallBytes) -> &[u8] {
        owned
    }
}

// SAFETY: the area is one `T`, whatever the extent.
unsafe impl<T: Clone + Send + Sync + 'static> sealed::Stored for T {
    type Owned = T;
    type Borrowed = T;
    type Input<'a> = T;

    #[inline]
    fn extent(input: &T, weigh: impl FnOnce(&T) -> usize) -> Extent {
        let len = u32::try_from(weigh(input)).unwrap_or(u32::MAX);
        Extent { len, long: len > u16::MAX.into() }
    }

    #[inline]
    fn input_ref(input: &T) -> &T {
        input
    }

    #[inline]
    fn area(_: Extent) -> Layout {
        Layout::new::<T>()
    }

    #[inline]
    fn heap_bytes(extent: Extent) -> usize {
        extent.len as usize
    }

    #[inline]
    unsafe fn write(input: T, at: *mut u8) {
        // SAFETY: the caller gives an aligned area for a `T`.
        unsafe { at.cast::<T>().write(input) };
    }

    #[inline]
    unsafe fn borrow<'a>(at: *const u8, _: Extent) -> &'a T {
        // SAFETY: `write` left a `T` here; the caller keeps it.
        unsafe { &*at.cast::<T>() }
    }

    #[inline]
    unsafe fn copy<'a>(at: *const u8, extent: Extent) -> Self::Input<'a> {
        // SAFETY: as the caller promises.
        unsafe { <T as sealed::Stored>::borrow(at, extent) }.clone()
    }

    #[inline]
    unsafe fn to_owned(at: *const u8, extent: Extent) -> T {
        // SAFETY: as the caller promises.
        unsafe { <T as sealed::Stored>::borrow(at, extent) }.clone()
    }

    #[inline]
    unsafe fn drop_in_place(at: *mut u8, _: Extent) {
        // SAFETY: `write` left a `T` here; dropped once.
        unsafe { at.cast::<T>().drop_in_place() };
    }

    #[inline]
    fn owned_ref(owned: &T) -> &T {
        owned
    }
}

impl<T: Clone + Send + Sync + 'static> IntoValue<T> for T {
    fn with_input<R>(self, store: impl FnOnce(T) -> R) -> R {
        store(self)
    }
}

impl IntoValue<Blob> for &[u8] {
    fn with_input<R>(self, store: impl FnOnce(BlobInput<'_>) -> R) -> R {
        store(if self.len() > INLINE_BYTES {
            BlobInput::Shared(Bytes::copy_from_slice(self))
        } else {
            BlobInput::Slice(self)
        })
    }
}

impl IntoValue<Blob> for Box<[u8]> {
    fn with_input<R>(self, store: impl FnOnce(BlobInput<'_>) -> R) -> R {
        if self.len() > INLINE_BYTES {
            store(BlobInput::Shared(Bytes::from(self)))
        } else {
            store(BlobInput::Slice(&self))
        }
    }
}

impl IntoValue<Blob> for Vec<u8> {
    fn with_input<R>(self, store: impl FnOnce(BlobInput<'_>) -> R) -> R {
        // A boxed slice has no spare capacity, so that the byte bound counts what is held.
        IntoValue::<Blob>::with_input(self.into_boxed_slice(), store)
    }
}

impl IntoValue<Blob> for Bytes {
    fn with_input<R>(self, store: impl FnOnce(BlobInput<'_>) -> R) -> R {
        // Copied even if long: it may be a small window of a large buffer, which the cache
        // would keep alive without being able to count it.
        IntoValue::<Blob>::with_input(self.as_ref(), store)
    }
}

impl<const N: usize> IntoValue<Blob> for &[u8; N] {
    fn with_input<R>(self, store: impl FnOnce(BlobInput<'_>) -> R) -> R {
        IntoValue::<Blob>::with_input(self.as_slice(), store)
    }
}

impl IntoValue<Blob> for &str {
    fn with_input<R>(self, store: impl FnOnce(BlobInput<'_>) -> R) -> R {
        IntoValue::<Blob>::with_input(self.as_bytes(), store)
    }
}

impl IntoValue<Blob> for String {
    fn with_input<R>(self, store: impl FnOnce(BlobInput<'_>) -> R) -> R {
        IntoValue::<Blob>::with_input(self.into_bytes(), store)
    }
}

impl IntoValue<Blob> for &Vec<u8> {
    fn with_input<R>(self, store: impl FnOnce(BlobInput<'_>) -> R) -> R {
        IntoValue::<Blob>::with_input(self.as_slice(), store)
    }
}

impl SmallBytes {
    #[inline]
    fn copy_from_slice(slice: &[u8]) -> Self {
        if slice.len() <= SMALL_BYTES {
            let mut bytes = [MaybeUninit::uninit(); SMALL_BYTES];
            bytes[..slice.len()].write_copy_of_slice(slice);
            Self(Repr::Short { len: slice.len() as u8, bytes })
        } else {
            Self(Repr::Long(Bytes::copy_from_slice(slice)))
        }
    }
}

impl Deref for SmallBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            // SAFETY: `copy_from_slice`, which alone makes them, initialised that many.
            Repr::Short { len, bytes } => unsafe { bytes[..usize::from(*len)].assume_init_ref() },
            Repr::Long(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for SmallBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<SmallBytes> for Bytes {
    fn from(bytes: SmallBytes) -> Self {
        match bytes.0 {
            Repr::Short { .. } => Self::copy_from_slice(&bytes),
            Repr::Long(bytes) => bytes,
        }
    }
}

impl fmt::Debug for SmallBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for SmallBytes {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}

impl Eq for SmallBytes {}
