use super::*;

pub(crate) fn sample() -> Instance {
    Instance {
        id: "i-0123456789abcdef0".parse().unwrap(),
        account: "111122223333".into(),
        image: "ami-0123456789abcdef0".into(),
        state: State::Pending,
        reason: String::new(),
        instance_type: "v1.small".into(),
        memory_mib: 512,
        cpus: 1,
        key_name: "me".into(),
        public_key: "ssh-ed25519 AAAA me".into(),
        launch_index: 0,
        reservation: "r-0123456789abcdef0".into(),
        product_codes: vec!["abc".into()],
        tags: vec![("Stage".into(), "test".into())],
        name: "web".into(),
        particulars: Particulars {
            image_name: "base".into(),
            image_owner: "999988887777".into(),
            image_created: 500,
            image_platform: "windows".into(),
            ena_support: true,
            architecture: "x86_64".into(),
            zone: "local-1a".into(),
            client_token: "token".into(),
            subnet: "subnet-1".into(),
            vpc: "vpc-1".into(),
            security_groups: vec!["sg-1".into()],
        },
        protected: false,
        on_poweroff: OnPoweroff::Stop,
        launched_at: 1_000,
        changed_at: 1_000,
        identity: Some(Identity {
            volumes: vec![Volume {
                id: "vol-0123456789abcdef0".into(),
                device: "/dev/sda1".into(),
                delete_on_termination: true,
                export: "/run/x/nbd.sock".into(),
                size_bytes: 1 << 30,
                attached_at: 1_000,
            }],
            root_device: "/dev/sda1".into(),
            slot: 4,
            mac: [2, 0, 0, 0, 0, 1],
            private_ip: [172, 31, 0, 4].into(),
            uuid: "ec2".into(),
            token_secret: [7; 32],
        }),
        run: 0,
        run_open: false,
        started_at: None,
        accelerator: String::new(),
        sandbox_gaps: vec![],
        ssh: None,
    }
}

fn run(at: i64) -> Run {
    Run { started_at: at, accelerator: "tcg".into(), sandbox_gaps: vec![], ssh: None }
}

#[test]
fn each_run_begins_once_and_ends_once() {
    let mut i = sample();
    assert_eq!(i.began(run(10), 11).unwrap(), Happening::Started);
    assert!(i.began(run(10), 11).is_err());
    i.enter(State::Stopping, "", 12).unwrap();
    assert_eq!(i.ended("asked to", 13).unwrap(), Some(Happening::Stopped));
    assert!(i.ended("asked to", 13).is_err());
    i.enter(State::Pending, "", 14).unwrap();
    assert_eq!(i.ended("could not be started", 15).unwrap(), None);
    i.enter(State::Pending, "", 16).unwrap();
    i.began(run(17), 17).unwrap();
    i.enter(State::ShuttingDown, "bye", 18).unwrap();
    let last = i.terminated(19).unwrap();
    assert_eq!(last, [Happening::Stopped, Happening::Terminated]);
    assert_eq!((i.run, i.run_open, i.state), (2, false, State::Terminated));
}

#[test]
fn a_guest_that_powers_off_ends_what_was_launched_to_end_so() {
    let mut i = sample();
    i.on_poweroff = OnPoweroff::Terminate;
    i.began(run(10), 11).unwrap();
    assert_eq!(i.powered_off(POWERED_OFF, 12).unwrap(), None);
    assert_eq!(i.reason_code(), "Client.InstanceInitiatedShutdown");
    let last = i.terminated(13).unwrap();
    assert_eq!(last, [Happening::Stopped, Happening::Terminated]);

    let mut i = sample();
    i.began(run(10), 11).unwrap();
    assert_eq!(i.powered_off(POWERED_OFF, 12).unwrap(), Some(Happening::Stopped));
    assert_eq!(i.state, State::Stopped);
}

#[test]
fn a_run_never_ends_before_it_began() {
    let mut i = sample();
    i.began(run(1_000), 1_000).unwrap();
    i.ended("gone", 400).unwrap();
    assert_eq!(i.changed_at, 1_000);
}

#[test]
fn a_hardware_address_is_local_unicast_and_stays() {
    let id = InstanceId::random();
    assert_eq!(mac_of(id), mac_of(id));
    assert_eq!(mac_of(id)[0] & 3, 2);
    assert_eq!(mac_text([2, 0, 0, 255, 0, 1]), "02:00:00:ff:00:01");
}
