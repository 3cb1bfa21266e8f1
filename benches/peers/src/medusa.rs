//! Medusa decoding against plain decoding of the same model: the same text, on one thread.

use threadscape_workloads::Join;
use threadscape_workloads::medusa::{Decoder, Mode, Model, Tree, alphabet, generate};

use crate::{Asked, Case};

/// Texts the model goes on with.
const PROMPTS: [&str; 6] = [
    "And it came to pass in those days, that ",
    "Then said the LORD unto him, ",
    "And the king of Moab sent messengers ",
    "And when the people saw that ",
    "But the men that went up with him ",
    "Now therefore, I pray thee, ",
];

pub fn open(name: &str, asked: &Asked) -> Box<dyn Case + Send> {
    let model = Model::shipped();
    let (mode, nodes) = match name {
        "greedy" => (Mode::Greedy, model.best_size()),
        "plain" => (Mode::Plain, 1),
        _ => panic!("no case is named medusa.{name}"),
    };
    Box::new(Speech {
        mode,
        tree: model.tree(nodes),
        count: asked.size("tokens"),
        said: Vec::new(),
    })
}

struct Speech {
    mode: Mode,
    tree: Tree,
    count: usize,
    said: Vec<u8>,
}

impl Case for Speech {
    fn run(&mut self, _: &dyn Join) {
        let model = Model::shipped();
        self.said.clear();
        for prompt in PROMPTS {
            let prompt = alphabet::tokens(prompt).unwrap();
            let mut decoder = Decoder::new(model, prompt.len() + self.count + self.tree.len(), self.tree.len());
            self.said
                .extend(generate(&mut decoder, model, self.mode, &self.tree, &prompt, self.count).tokens);
        }
    }

    fn result(&self) -> Vec<f64> {
        self.said.iter().map(|token| f64::from(*token)).collect()
    }
}
