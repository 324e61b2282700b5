// A source as a developer shows it on the board's console; written for hvrig's tests.
pub struct MMIOAccess {
    pub address: usize,
    pub size: usize,
    pub is_write: bool,
    pub value: usize,
}

fn report(zone: usize, access: &MMIOAccess) {
    warn!("Zone {} unhandled mmio fault {:#x?}", zone, access);
    error!("mmio_handle_access: {:#x?}", Error::new(EINVAL));
}

fn on_panic(info: &PanicInfo) -> ! {
    error!("panic occurred: {:#?}", info);
    if let PanicInfo { .. } = info {
        println!("Hello, start HVISOR at {:#x?}!", 0);
    }
    loop {}
}

fn example() -> MMIOAccess {
    MMIOAccess {
        address: 0,
        size: 1,
        is_write: true,
        value: 0,
    }
}
