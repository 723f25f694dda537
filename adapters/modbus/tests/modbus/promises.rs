//! The promises of every adapter, on each transport.

use floorgate_adapter_api::conformance::Rig;
use floorgate_adapter_api::{Adapter, QualityClass, Value};
use floorgate_adapter_modbus::Modbus;
use tokio_modbus::ExceptionCode;

use crate::device::{Device, Server, Wire};

/// A device with a holding register for each tag.
struct PlcRig {
    wire: Wire,
    device: Device,
    server: Server,
}

impl PlcRig {
    fn new(wire: Wire) -> Self {
        let device = Device::default().with_unit(1, |unit| unit.missing = [900].into());
        Self {
            wire,
            server: Server::new(wire, device.clone()),
            device,
        }
    }
}

impl Rig for PlcRig {
    fn adapter(&self) -> Box<dyn Adapter> {
        Box::new(Modbus)
    }

    fn settings(&self) -> String {
        format!(
            "connect: {}\npoll_interval: 10ms\ntimeout: 500ms\nbackoff_max: 100ms\nretry_refused: 1s\n",
            self.server.connect()
        )
    }

    fn address(&self, tag: usize) -> String {
        format!("{{holding: {}, type: i16}}", 100 + tag)
    }

    fn refused_address(&self) -> String {
        "{holding: 900, type: i16}".to_owned()
    }

    fn shown(&self, _tag: usize, value: i16) -> Value {
        Value::Int(value.into())
    }

    async fn start(&mut self) {
        self.server.start().await;
    }

    async fn stop(&mut self) {
        self.server.stop().await;
    }

    async fn freeze(&mut self) {
        self.device.unit(1, |unit| unit.silent = true);
    }

    async fn thaw(&mut self) {
        self.device.unit(1, |unit| unit.silent = false);
    }

    async fn set(&mut self, tag: usize, value: i16) {
        let place = 100 + u16::try_from(tag).expect("few tags");
        self.device.unit(1, |unit| {
            unit.holding.insert(place, value.cast_unsigned());
            unit.answers.remove(&place);
        });
    }

    // The protocol has no qualities: a device answers, or says that it failed.
    const SPOILT: &'static [QualityClass] = &[QualityClass::Bad];

    async fn spoil(&mut self, tag: usize, _: QualityClass) {
        let place = 100 + u16::try_from(tag).expect("few tags");
        self.device.unit(1, |unit| {
            unit.answers.insert(place, ExceptionCode::ServerDeviceFailure);
        });
    }

    fn connections(&self) -> Option<usize> {
        let is_connected = !matches!(self.wire, Wire::Udp | Wire::Rtu | Wire::Ascii);
        is_connected.then(|| self.device.open_connections())
    }
}

mod tcp {
    floorgate_adapter_api::conformance_tests!(super::PlcRig::new(super::Wire::Tcp));
}

mod tls {
    floorgate_adapter_api::conformance_tests!(super::PlcRig::new(super::Wire::Tls));
}

mod udp {
    floorgate_adapter_api::conformance_tests!(super::PlcRig::new(super::Wire::Udp));
}

mod rtu_over_tcp {
    floorgate_adapter_api::conformance_tests!(super::PlcRig::new(super::Wire::RtuOverTcp));
}

mod ascii_over_tcp {
    floorgate_adapter_api::conformance_tests!(super::PlcRig::new(super::Wire::AsciiOverTcp));
}

mod rtu {
    floorgate_adapter_api::conformance_tests!(super::PlcRig::new(super::Wire::Rtu));
}

mod ascii {
    floorgate_adapter_api::conformance_tests!(super::PlcRig::new(super::Wire::Ascii));
}
