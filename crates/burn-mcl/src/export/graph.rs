//! A graph on its way: nodes one after the other, and the constants that they take.

use std::collections::BTreeSet;

use super::messages::{
    AttributeProto, AttributeType, DataType, DimensionProto, GraphProto, NodeProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};

/// What a node makes, an input of the graph, or a constant, by its name.
#[derive(Debug, Clone)]
pub(super) struct Value(String);

/// A graph of which each node comes after those whose outputs it takes.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    constants: BTreeSet<String>,
    inputs: Vec<ValueInfoProto>,
    outputs: Vec<ValueInfoProto>,
    scope: String,
}

impl Graph {
    /// Names the nodes that follow after this part of the graph.
    pub(super) fn scope(&mut self, scope: &str) {
        self.scope = scope.into();
    }

    /// Adds an input of the graph.
    pub(super) fn input(&mut self, name: &str, data_type: DataType, shape: &[Dimension], doc: &str) -> Value {
        self.inputs.push(value_info(name, data_type, shape, doc));
        Value(name.into())
    }

    /// Adds a node with one output.
    pub(super) fn node(&mut self, op: &str, inputs: &[&Value], attributes: Vec<AttributeProto>) -> Value {
        let name = format!("{}/{op}_{}", self.scope, self.nodes.len());
        self.push(&name, op, inputs, attributes)
    }

    /// Adds a node whose output is one of the graph.
    pub(super) fn output(
        &mut self,
        info: (&str, DataType, &str),
        op: &str,
        inputs: &[&Value],
        attributes: Vec<AttributeProto>,
    ) -> Value {
        let (name, data_type, doc) = info;
        self.outputs.push(value_info(name, data_type, &[Dimension::Named("n")], doc));
        self.push(name, op, inputs, attributes)
    }

    fn push(&mut self, name: &str, op: &str, inputs: &[&Value], attribute: Vec<AttributeProto>) -> Value {
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|value| value.0.clone()).collect(),
            output: vec![name.into()],
            name: name.into(),
            op_type: op.into(),
            attribute,
        });
        Value(name.into())
    }

    /// A constant of f32. A name stands for the same values throughout the graph.
    pub(super) fn f32s(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Value {
        self.constant(name, DataType::Float, shape, || values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// A constant of f64, as [`f32s`](Self::f32s).
    pub(super) fn f64s(&mut self, name: &str, shape: &[usize], values: &[f64]) -> Value {
        self.constant(name, DataType::Double, shape, || values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// A list of whole numbers, which is its own name: axes, indices, shapes.
    pub(super) fn ints(&mut self, values: &[i64]) -> Value {
        let name = format!("ints{values:?}").replace(' ', "");
        let bytes = || values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(&name, DataType::Int64, &[values.len()], bytes)
    }

    pub(super) fn constant(
        &mut self,
        name: &str,
        data_type: DataType,
        shape: &[usize],
        bytes: impl FnOnce() -> Vec<u8>,
    ) -> Value {
        if self.constants.insert(name.into()) {
            self.initializers.push(TensorProto {
                dims: shape.iter().map(|&n| n as i64).collect(),
                data_type: data_type.into(),
                name: name.into(),
                raw_data: bytes(),
            });
        }
        Value(name.into())
    }

    /// The value as another type.
    pub(super) fn cast(&mut self, value: &Value, to: DataType) -> Value {
        self.node("Cast", &[value], vec![int("to", to as i64)])
    }

    /// The value in another shape; -1 stands for the number of images.
    pub(super) fn reshape(&mut self, value: &Value, shape: &[i64]) -> Value {
        let shape = self.ints(shape);
        self.node("Reshape", &[value, &shape], vec![])
    }

    pub(super) fn transpose(&mut self, value: &Value, axes: &[i64]) -> Value {
        self.node("Transpose", &[value], vec![ints("perm", axes)])
    }

    /// A reduction whose axis is an attribute in operator set 17: all but `ReduceSum`.
    pub(super) fn reduce(&mut self, op: &str, value: &Value, axis: i64, keep: bool) -> Value {
        self.node(op, &[value], vec![ints("axes", &[axis]), int("keepdims", i64::from(keep))])
    }

    pub(super) fn sum(&mut self, value: &Value, axes: &[i64], keep: bool) -> Value {
        let axes = self.ints(axes);
        self.node("ReduceSum", &[value, &axes], vec![int("keepdims", i64::from(keep))])
    }

    /// The finished graph.
    pub(super) fn finish(self, name: &str) -> GraphProto {
        GraphProto {
            node: self.nodes,
            name: name.into(),
            initializer: self.initializers,
            input: self.inputs,
            output: self.outputs,
        }
    }
}

/// A length of an axis of an input or output.
#[derive(Debug, Clone, Copy)]
pub(super) enum Dimension {
    Fixed(usize),
    Named(&'static str),
}

/// An attribute that is a number.
pub(super) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, AttributeType::Float) }
}

/// An attribute that is a whole number.
pub(super) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, AttributeType::Int) }
}

/// An attribute that is a list of whole numbers.
pub(super) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::Ints) }
}

/// An attribute that is a word.
pub(super) fn word(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: Some(value.into()), ..attribute(name, AttributeType::String) }
}

fn attribute(name: &str, r#type: AttributeType) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: r#type.into(), ..AttributeProto::default() }
}

fn value_info(name: &str, data_type: DataType, shape: &[Dimension], doc: &str) -> ValueInfoProto {
    let dim = shape.iter().map(|dimension| match *dimension {
        Dimension::Fixed(length) => DimensionProto { dim_value: Some(length as i64), dim_param: None },
        Dimension::Named(name) => DimensionProto { dim_value: None, dim_param: Some(name.into()) },
    });
    let shape = Some(TensorShapeProto { dim: dim.collect() });
    let tensor_type = Some(TensorTypeProto { elem_type: data_type.into(), shape });
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type }), doc_string: doc.into() }
}
